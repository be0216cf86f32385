from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from xsam_edge.calibration.data.samples import Categories, Phrase, Picture, Regions
from xsam_edge.calibration.evaluation.run import AskOptions, ask_scene
from xsam_edge.calibration.instrumented import EditedBackend
from xsam_edge.calibration.staged import run as module
from xsam_edge.calibration.staged.run import StagedRun, fits_whole
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result

SIZE = (40, 56)
ASKS = (
    Phrase("refer", "the cat", None),
    Categories("panoptic", ("cat", "sky"), 1, ()),
    Regions((lambda: np.eye(*SIZE, dtype=bool),), (), False),
)


def pictures(count: int = 2) -> list[Picture]:
    def image(number: int) -> Image.Image:
        return Image.fromarray(np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8))

    return [Picture(f"picture {number}", lambda number=number: image(number), ASKS) for number in range(count)]


def ask_all(model: XSam, picture: Picture) -> list[Result]:
    with model.look(picture.image()) as scene:
        return [ask_scene(scene, ask, AskOptions("append")) for ask in picture.asks]


def weights(model: ir.Model) -> list[ir.Value]:
    return list(model.graph.initializers.values())


def gathering(found: list[Result]) -> Callable[[XSam, Picture, bool], None]:
    def ask(model: XSam, picture: Picture, last: bool) -> None:
        results = ask_all(model, picture)
        if last:
            found.extend(results)

    return ask


@pytest.mark.parametrize("name", ["phi3_bundle", "qwen3_bundle", "shapes_bundle"])
def test_a_chain_by_stages_gives_what_it_gives_as_a_whole(
    request: pytest.FixtureRequest, name: str, tmp_path: Path
) -> None:
    bundle: Path = request.getfixturevalue(name)
    whole = XSam.load(bundle, backend=EditedBackend(load_graph, threads=1))
    expected = [result for picture in pictures() for result in ask_all(whole, picture)]
    found: list[Result] = []
    run = StagedRun(
        bundle, EditedBackend(load_graph, threads=1), pictures(), gathering(found), tmp_path / "wait", part_bytes=1
    )
    assert run.stages > 6
    run.run_all()
    assert len(found) == len(expected) == 2 * len(ASKS)
    for one, other in zip(found, expected, strict=True):
        assert [item.score for item in one.segments] == [item.score for item in other.segments]
        for first, second in zip(one.segments, other.segments, strict=True):
            np.testing.assert_array_equal(first.mask, second.mask)
    assert not (tmp_path / "wait").exists()


def test_no_more_than_a_part_is_open_at_a_time(phi3_bundle: Path, tmp_path: Path) -> None:
    opened: list[int] = []

    class Backend(EditedBackend):
        def session(self, model: ir.Model, path: Path) -> Any:
            opened.append(sum(value.shape is not None and len(value.shape) > 1 for value in weights(model)))
            return super().session(model, path)

    run = StagedRun(
        phi3_bundle, Backend(load_graph, threads=1), pictures(1), gathering([]), tmp_path / "wait", part_bytes=1
    )
    run.run_all()
    assert len(opened) == run.stages and max(opened[1:-1]) <= 3, "the products between two sums"


def test_a_run_goes_on_where_another_left_it(phi3_bundle: Path, tmp_path: Path) -> None:
    def listening(heard: list[str]) -> EditedBackend:
        def edit(path: Path) -> ir.Model:
            model = load_graph(path)
            value = next(node.outputs[0] for node in model.graph if node.op_type == "Softmax")
            model.graph.outputs.append(value)
            return model

        def listen(file: str, outputs: Mapping[str, Any]) -> None:
            heard.extend(f"{file} {name}" for name in outputs)

        return EditedBackend(edit, listen, 1)

    def start(heard: list[str], found: list[Result]) -> StagedRun:
        return StagedRun(
            phi3_bundle, listening(heard), pictures(), gathering(found), tmp_path / "wait", part_bytes=1 << 14
        )

    heard: list[str] = []
    first = start(heard, [])
    assert first.has(0) and not first.has(2)
    for stage in range(2):
        first.run(stage)
        first.mark(stage + 1)
    assert {line.partition(" ")[0] for line in heard} == {"image_encoder.onnx", "llm.onnx"}
    heard.clear()
    found: list[Result] = []
    second = start(heard, found)
    assert second.has(2) and not second.has(1)
    for stage in range(2, second.stages):
        second.run(stage)
    assert len(found) == 2 * len(ASKS) and {line.partition(" ")[0] for line in heard} == {"mask_decoder.onnx"}


def test_other_pictures_than_before_are_an_error(phi3_bundle: Path, tmp_path: Path) -> None:
    backend = EditedBackend(load_graph, threads=1)
    first = StagedRun(phi3_bundle, backend, pictures(), gathering([]), tmp_path / "wait")
    for stage in range(first.stages - 1):
        first.run(stage)
        first.mark(stage + 1)
    turned = [Picture(item.name, item.image, item.asks[::-1]) for item in pictures()]
    other = StagedRun(phi3_bundle, backend, turned, gathering([]), tmp_path / "wait")
    with pytest.raises(XSamError, match="have changed meanwhile; start again"):
        other.run(other.stages - 1)


def test_small_models_run_as_a_whole(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_manifest(phi3_bundle)
    assert fits_whole(manifest)
    stored = sum(entry.bytes for name, entry in manifest.files.items() if name.endswith(".data"))
    monkeypatch.setattr(module, "WHOLE_BYTES", stored)
    assert fits_whole(manifest)
    monkeypatch.setattr(module, "WHOLE_BYTES", stored - 1)
    assert not fits_whole(manifest)
