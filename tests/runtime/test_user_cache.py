from pathlib import Path

import pytest

from xsam_edge.runtime.user_cache import user_cache


def test_the_user_may_say_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert user_cache() == tmp_path / ".cache" / "xsam-edge"
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert user_cache() == Path("/shared/xsam-edge")
