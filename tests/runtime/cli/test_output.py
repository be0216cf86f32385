from pathlib import Path

import pytest

from xsam_edge.runtime.cli.output import check_output, folder_names
from xsam_edge.runtime.errors import InputError


def test_names_are_unique_whatever_the_case() -> None:
    images = [Path(name) for name in ("a/street.jpg", "b/street.png", "STREET.jpg", "street-2.jpg", ".png", "x.y.jpg")]
    assert folder_names(images) == ["street", "street-2", "STREET-3", "street-2-2", "png", "x.y"]


def test_a_long_name_is_cut() -> None:
    (name,) = folder_names([Path("图" * 84 + ".jpg")])
    assert name == "图" * 66


def test_output_folder(tmp_path: Path) -> None:
    check_output(tmp_path, overwrite=False)
    check_output(tmp_path / "new", overwrite=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        check_output(tmp_path, overwrite=False)
    check_output(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="not a folder"):
        check_output(tmp_path / "file", overwrite=True)
