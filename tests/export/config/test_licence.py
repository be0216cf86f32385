"""The licence of a checkpoint is the one that lies with it, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.export.config.licence import licence_of


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({}, ""),
        ({"README.md": "---\nlanguage: en\nlicense: apache-2.0\n---\n# X-SAM\n"}, "apache-2.0"),
        ({"README.md": '---\nlicense: "MIT"\n---'}, "MIT"),
        ({"README.md": "---\nlicense: other\nlicense_name: nvidia-open\nlicense_link: LICENSE\n---\n"}, "nvidia-open"),
        ({"README.md": "---\nlicense: other\n---\n", "LICENSE.txt": ""}, "LICENSE.txt"),
        ({"README.md": "# Weights\nlicense: none\n", "COPYING": ""}, "COPYING"),
        ({"README.md": "---\ntags: [x]\n---\nlicense: none\n"}, ""),
        ({"README.md": "---\nlicense: apache-2.0\n---\n", "LICENSE": ""}, "apache-2.0"),
    ],
)
def test_what_lies_beside_a_checkpoint(tmp_path: Path, files: dict[str, str], name: str) -> None:
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert licence_of(tmp_path / "pytorch_model.bin", tmp_path / "pytorch_model.bin") == name


def test_how_far_it_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    run = tmp_path / "X-SAM" / "s3_mixed_finetune" / "run"
    assert licence_of(run / "pytorch_model.bin", tmp_path) == "apache-2.0"
    assert licence_of(run / "pytorch_model.bin", run) == ""
    assert licence_of(run / "pytorch_model.bin", run / "pytorch_model.bin") == ""
    snapshot = tmp_path / "models--hao9610--X-SAM" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "LICENSE").touch()
    assert licence_of(snapshot / "run" / "x.bin", snapshot / "run" / "x.bin") == "LICENSE"
    (snapshot / "LICENSE").unlink()
    assert licence_of(snapshot / "run" / "x.bin", tmp_path) == ""


def test_a_card_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert licence_of(tmp_path / "x.bin", tmp_path) == ""
