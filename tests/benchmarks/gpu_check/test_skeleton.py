import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from xsam_edge.benchmarks.gpu_check import skeleton
from xsam_edge.benchmarks.gpu_check.skeleton import fill, strip
from xsam_edge.runtime.bundle.manifest import EMBEDDINGS_FILE, read_manifest
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.model import XSam


@pytest.fixture(scope="module")
def stripped(phi3_fp16_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("skeleton") / "stripped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skeleton, "_SMALL", 1024)
        strip(phi3_fp16_bundle, folder)
    return folder


@pytest.fixture(scope="module")
def filled(stripped: Path) -> Path:
    fill(stripped, stripped.parent / "filled")
    return stripped.parent / "filled"


def tensors(bundle: Path) -> dict[str, np.ndarray]:
    """What graphs have in files beside them, by graph and name."""
    found = {}
    for graph in bundle.glob("*.onnx"):
        for tensor in onnx.load(graph, load_external_data=False).graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                found[f"{graph.stem}: {tensor.name}"] = onnx.numpy_helper.to_array(tensor, str(bundle))
    return found


def test_a_skeleton_is_small_and_a_bundle_of_it_has_every_size(
    phi3_fp16_bundle: Path, stripped: Path, filled: Path
) -> None:
    sizes = [sum(path.stat().st_size for path in folder.glob("*.data*")) for folder in (phi3_fp16_bundle, stripped)]
    assert sizes[1] < sizes[0] / 3
    assert {path.name: path.stat().st_size for path in filled.iterdir()} == {
        path.name: path.stat().st_size for path in phi3_fp16_bundle.iterdir()
    }
    assert skeleton.filled_bytes(stripped) == sum(
        path.stat().st_size for path in filled.iterdir() if path.name.endswith((".data", EMBEDDINGS_FILE))
    )
    assert not list(stripped.glob("*.data")) and not (stripped / EMBEDDINGS_FILE).exists()


def test_large_weights_are_others_of_the_same_spread_and_the_rest_stays(phi3_fp16_bundle: Path, filled: Path) -> None:
    before, after = tensors(phi3_fp16_bundle), tensors(filled)
    assert before.keys() == after.keys()
    others = 0
    for name, value in before.items():
        made = after[name]
        if value.nbytes <= 1024 or value.dtype.kind != "f":
            np.testing.assert_array_equal(made, value, name)
            continue
        others += 1
        assert np.isfinite(made).all() and (value.std() == 0 or not np.array_equal(made, value)), name
        spread = value.astype(float).std()
        assert made.astype(float).std() == pytest.approx(spread, rel=0.25, abs=1e-6), name
        assert made.astype(float).mean() == pytest.approx(value.astype(float).mean(), abs=0.25 * spread + 1e-6), name
    assert others > 20
    table = read_manifest(filled).embeddings
    assert np.fromfile(filled / EMBEDDINGS_FILE, table.dtype).std() > 0


def test_a_filled_bundle_answers(filled: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    result = XSam.load(filled, verify="none").look(picture).refer("a thing", answer="append", threshold="official")
    assert result.masks.shape[1:] == (60, 80)


def test_layers_have_weights_of_their_own(filled: Path) -> None:
    found = [value.tobytes() for name, value in tensors(filled).items() if "mlp" in name and value.nbytes > 1024]
    assert len(found) > 3 and len(set(found)) == len(found)


def test_codes_stay_codes(phi3_int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeleton, "_SMALL", 1024)
    described = strip(phi3_int8_bundle, tmp_path / "stripped")
    assert "int8" in {left.dtype for weights in described.files.values() for left in weights.left}
    fill(tmp_path / "stripped", tmp_path / "filled")
    codes = [value for value in tensors(tmp_path / "filled").values() if value.dtype == np.int8 and value.nbytes > 1024]
    assert codes and all(np.unique(value).size > 100 for value in codes)


def test_what_is_no_skeleton_is_refused(phi3_fp16_bundle: Path, stripped: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no skeleton: it has no skeleton\.json"):
        fill(phi3_fp16_bundle, tmp_path / "x")
    assert not skeleton.is_skeleton(phi3_fp16_bundle) and skeleton.is_skeleton(stripped)
    (tmp_path / "skeleton.json").write_text(json.dumps({"files": 1}))
    with pytest.raises(BundleError, match="make the skeleton again"):
        fill(tmp_path, tmp_path / "x")
    assert not (tmp_path / "x").exists()
