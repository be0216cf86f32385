from __future__ import annotations

import gc
import json
import logging
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recorded import DATA
from tests.runtime.loaded import load
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, TOKENIZER_FILE
from xsam_edge.runtime.errors import BackendError, BundleError, InputError
from xsam_edge.runtime.model import DEFAULT_CONTEXT, XSam
from xsam_edge.runtime.progress import Step

IMAGE = DATA / "golden-phi3" / "image.png"


@pytest.fixture
def copy(phi3_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phi3_bundle, tmp_path / "bundle"))


def test_a_path_an_image_and_an_array_are_the_same(phi3_bundle: Path) -> None:
    model = load(phi3_bundle)
    picture = Image.open(IMAGE).convert("RGB")
    results = [model.look(image).refer("a car") for image in (IMAGE, str(IMAGE), picture, np.asarray(picture))]
    assert all(result == results[0] for result in results)
    assert results[0].image_size == (picture.height, picture.width)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 300), (300, 7), (500, 333)])
def test_images_of_any_size(phi3_bundle: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    result = load(phi3_bundle).look(pixels).refer("a car", answer="append")
    assert result.answered
    assert result.masks.shape[1:] == size
    assert {"preprocess", "image_encoder", "llm", "mask_decoder", "postprocess"} <= set(result.timings)


def test_what_is_no_image_is_refused(phi3_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    for image in (tmp_path / "a.png", tmp_path / "none.png", np.zeros((0, 5, 3), np.uint8), np.zeros(5, np.uint8)):
        with pytest.raises(InputError):
            load(phi3_bundle).look(image)


def test_context(phi3_bundle: Path) -> None:
    limit = load(phi3_bundle).manifest.settings.model.context_length
    assert load(phi3_bundle).pipeline.cache.capacity == min(limit, DEFAULT_CONTEXT)
    assert load(phi3_bundle, context=64).pipeline.cache.capacity == 64
    for context in (0, -1, limit + 1):
        with pytest.raises(InputError, match=f"context is {context}; this model takes 1 to {limit} tokens"):
            XSam.load(phi3_bundle, context=context)


def test_every_file_is_hashed_before_it_is_opened(copy: Path) -> None:
    steps: list[Step] = []
    XSam.load(copy, threads=1, progress=steps.append)
    manifest = json.loads((copy / MANIFEST_FILE).read_text())
    total = sum(entry["bytes"] for entry in manifest["files"].values())
    assert steps[-2:] == [Step("check", total, total, "bytes"), Step("load")]
    for name in manifest["files"]:
        path = copy / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{name} was altered"):
            XSam.load(copy)
        path.write_bytes(content)


def test_bundles_that_are_not_whole(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        XSam.load(tmp_path / "none")
    (copy / TOKENIZER_FILE).rename(copy / "elsewhere")
    with pytest.raises(BundleError, match=f"{TOKENIZER_FILE} is missing"):
        XSam.load(copy, verify="none")


@pytest.mark.parametrize("verify", [True, False])
def test_verify_is_no_bool_any_more(phi3_bundle: Path, verify: bool) -> None:
    with pytest.raises(InputError, match=f"verify is {verify}; write 'full' .which True was., 'changed' or 'none'"):
        XSam.load(phi3_bundle, verify=verify)  # type: ignore[arg-type]


def test_a_graph_that_is_no_graph(copy: Path) -> None:
    size = (copy / "llm.onnx").stat().st_size
    (copy / "llm.onnx").write_bytes(b"\0" * size)
    with pytest.raises(BackendError, match=r"llm\.onnx cannot be loaded by ONNX Runtime"):
        XSam.load(copy, verify="none")


def test_devices(phi3_bundle: Path) -> None:
    with pytest.raises(BackendError, match="device 'tpu' is unknown; choose one of cpu, cuda"):
        XSam.load(phi3_bundle, device="tpu", verify="none")


def test_half_precision_finds_the_same(phi3_bundle: Path, phi3_fp16_bundle: Path) -> None:
    full, half = (load(path).look(IMAGE).refer("the ironing man") for path in (phi3_bundle, phi3_fp16_bundle))
    assert half.text == full.text
    union = (full.masks[0] | half.masks[0]).sum()
    assert union and (full.masks[0] & half.masks[0]).sum() / union > 0.95
    assert half.segments[0].score == pytest.approx(full.segments[0].score, abs=0.02)


def test_the_former_name_of_speculative_warns(phi3_bundle: Path) -> None:
    with pytest.warns(FutureWarning, match="drafts is now speculative"):
        model = XSam.load(phi3_bundle, threads=1, verify="none", drafts=False)
    assert model.language.drafter is None


def test_a_closed_model_is_refused_and_frees_what_it_holds(phi3_bundle: Path) -> None:
    with XSam.load(phi3_bundle, threads=1, verify="none") as model:
        scene = model.look(IMAGE)
        assert scene.refer("a car", answer="append").answered
        cache = weakref.ref(model.pipeline.cache)
        stream = model.stream([np.asarray(Image.open(IMAGE).convert("RGB"))] * 2, refer="a car")
        next(stream)
    for ask in (lambda: scene.refer("a car"), lambda: model.look(IMAGE), lambda: next(stream)):
        with pytest.raises(InputError, match="this model was closed"):
            ask()
    assert scene.feature_bytes() == 0
    gc.collect()
    assert cache() is None
    scene.close()
    model.close()


def test_the_logger_of_the_package_is_silent(phi3_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("xsam_edge").handlers)
    with caplog.at_level(logging.INFO, "xsam_edge"):
        XSam.load(phi3_bundle, threads=1, verify="none").close()
    assert [record.name for record in caplog.records] == ["xsam_edge.runtime.model"]
    assert f"was loaded from {phi3_bundle}" in caplog.text
