from pathlib import Path

import numpy as np
import pytest

from xsam_edge.calibration.staged.spool import Spool
from xsam_edge.runtime.errors import XSamError


def test_arrays_come_back_and_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    arrays = {("a", 0): np.arange(6.0).reshape(2, 3), ("a", 1): np.empty((1, 0, 4), np.float16), ("ab", 0): np.int64(3)}
    for (name, number), array in arrays.items():
        spool.put(name, number, array)
    for (name, number), array in arrays.items():
        found = Spool(tmp_path / "spool").get(name, number)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    spool.drop("a")
    with pytest.raises(KeyError):
        spool.get("a", 0)
    assert spool.get("ab", 0) == 3
    spool.clear()
    assert not list(spool.folder.iterdir())


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(XSamError, match=r"No space left on device.*--calibration-samples"):
        Spool(tmp_path).put("a", 0, np.zeros(1))
