import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xsam_edge.calibration.cli.verify import main


def outcome(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("bundle", "reference"),
    [
        ("phi3_bundle", "phi3_reference"),
        ("phi3_gpu_bundle", "phi3_reference"),
        ("aaai26_bundle", "phi3_reference"),
        ("qwen3_bundle", "qwen3_reference"),
    ],
)
def test_recorded_outputs(
    bundle: str, reference: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    folder: Path = request.getfixturevalue(reference)
    path = str(request.getfixturevalue(bundle))
    capsys.readouterr()
    assert main([path, "--reference", str(folder), "--json"]) == 0
    result = outcome(capsys)
    compared = {item["file"] for item in result["comparisons"]}
    line = "aaai_" if bundle.startswith("aaai") else ""
    assert compared == {path.stem for path in folder.glob("*.npz") if path.stem.startswith("aaai_") == bool(line)}
    assert all(item["max_abs"] <= 1e-4 for item in result["comparisons"] if item["kind"] == "floats")
    assert result["compared_values"] > 1_000_000
    stages = {item["stage"] for item in result["comparisons"]}
    everywhere = {
        "preprocess",
        "image encoder",
        "prompt",
        "region sampler",
        "generation",
        "mask decoder",
        "postprocess",
    }
    assert stages >= everywhere, "trimmed files keep these"


def test_a_file_may_have_anything_behind_its_task(
    phi3_bundle: Path, phi3_reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "image.png"):
        shutil.copy(phi3_reference / name, tmp_path)
    for name in ("img_refseg", "img_genseg"):
        with np.load(phi3_reference / f"{name}.npz") as archive:
            arrays = dict(archive)
        for mode in ("tensor", "predict"):
            facts = json.loads(arrays[f"{mode}/meta"].tobytes())
            called = json.dumps({**facts, "task": f"{name}_street_2"})
            arrays[f"{mode}/meta"] = np.frombuffer(called.encode(), np.uint8)
        np.savez(tmp_path / f"{name}_street_2.npz", **arrays)
    capsys.readouterr()
    assert main([str(phi3_bundle), "--reference", str(tmp_path), "--json"]) == 0
    compared = {(item["file"], item["key"]) for item in outcome(capsys)["comparisons"]}
    assert {("img_refseg_street_2", "post.segmentation"), ("img_genseg_street_2", "post.labels")} <= compared


@pytest.fixture
def part(phi3_reference: Path, tmp_path: Path) -> Path:
    """A reference with the image's features and one task."""
    folder = tmp_path / "part"
    folder.mkdir()
    for name in ("config.json", "image.png", "image_features.npz", "img_refseg.npz"):
        shutil.copy(phi3_reference / name, folder)
    return folder


def change(path: Path, key: str, value: np.ndarray | None) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != key}
    np.savez(path, **arrays, **({} if value is None else {key: value}))


def read(path: Path, key: str) -> np.ndarray:
    with np.load(path) as archive:
        return archive[key]


@pytest.mark.parametrize(
    ("name", "key", "where"),
    [
        ("image_features.npz", "pixel_values", 0),
        ("image_features.npz", "pixel_decoder.mask_features", 7),
        ("img_refseg.npz", "tensor/llm.logits", -1),
        ("img_refseg.npz", "tensor/input_ids", 3),
        ("img_refseg.npz", "tensor/class_queries_logits", 0),
        ("img_refseg.npz", "tensor/decoder.masks_lowres.3", 5),
        ("img_refseg.npz", "predict/generated_ids", 2),
    ],
)
def test_a_changed_value_is_found(
    name: str, key: str, where: int, phi3_bundle: Path, part: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = read(part / name, key).copy()
    value.flat[where] += 1 if value.dtype.kind == "i" else 2e-3
    change(part / name, key, value)
    assert main([str(phi3_bundle), "--reference", str(part), "--json"]) == 1
    failed = [item for item in outcome(capsys)["comparisons"] if not item["ok"]]
    assert [f"{item['mode']}/{item['key']}".strip("/") for item in failed] == [key]


def test_a_moved_mask_is_found(phi3_bundle: Path, part: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = "predict/post.segmentation"
    change(part / "img_refseg.npz", key, np.roll(read(part / "img_refseg.npz", key), 1, axis=1))
    assert main([str(phi3_bundle), "--reference", str(part)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("FAIL: 1 of ")
    assert any("post.segmentation" in line and "FAIL" in line and "pixels differ" in line for line in lines)


def test_what_is_missing_is_counted(phi3_bundle: Path, part: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (part / "image_features.npz").unlink()
    for key in ("tensor/class_queries_logits", "tensor/input_ids", "predict/meta"):
        change(part / "img_refseg.npz", key, None)
    assert main([str(phi3_bundle), "--reference", str(part), "--json"]) == 0
    result = outcome(capsys)
    assert {item["mode"] for item in result["comparisons"]} == {"tensor"}
    assert "img_refseg:predict/generated_ids" in result["skipped_keys"]
    assert result["skipped_values"] == sum(result["skipped_keys"].values()) > 0


def test_fp16_reports_numbers_and_judges_masks(
    phi3_fp16_bundle: Path, part: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main([str(phi3_fp16_bundle), "--reference", str(part), "--json"]) == 0
    items = outcome(capsys)["comparisons"]
    assert all(item["bound"] is None and item["relative"] < 0.05 for item in items if item["kind"] == "floats")
    assert any(item["bound"] == 0.99 for item in items if item["key"] == "post.segmentation")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("["), "cannot be read as JSON"),
        (lambda folder: (folder / "image.png").unlink(), "has no image.png"),
        (lambda folder: (folder / "img_refseg.npz").write_bytes(b"PK"), "img_refseg.npz cannot be read"),
        (lambda folder: (folder / "image.png").write_bytes(b"x"), "is not an image"),
        (
            lambda folder: change(folder / "img_refseg.npz", "tensor/meta", np.zeros(3, np.uint8)),
            "tensor/meta cannot be read as JSON",
        ),
        (
            lambda folder: change(folder / "img_refseg.npz", "tensor/input_ids", np.array([{}], object)),
            "tensor/input_ids cannot be read",
        ),
        (lambda folder: [path.unlink() for path in folder.glob("*.npz")], "has no <task>.npz"),
    ],
)
def test_damaged_references(
    damage: Any, message: str, phi3_bundle: Path, part: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(part)
    assert main([str(phi3_bundle), "--reference", str(part)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_another_model_fails(phi3_bundle: Path, qwen3_reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(phi3_bundle), "--reference", str(qwen3_reference)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAIL")


def test_no_reference(phi3_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(phi3_bundle), "--reference", str(tmp_path / "nosuch")]) == 2
    assert "nosuch is not a folder" in capsys.readouterr().err


def test_a_list_that_json_has_anyway(phi3_bundle: Path, part: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(phi3_bundle), "--reference", str(part), "--json", "--all"]) == 2
    assert "--all is of the table; --json has every comparison" in capsys.readouterr().err
