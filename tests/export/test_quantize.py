"""Reduced bundles of the demo model, whole: calibrated, searched, written, measured, reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import onnxruntime
import pytest
from PIL import Image

from tests.export.overflowing import PLACES, overflow
from xsam_edge.export import quantize
from xsam_edge.export.bundle import fill_bundle
from xsam_edge.export.cli import main
from xsam_edge.export.gate.measure import Score
from xsam_edge.export.gate.search import RaisedBlock, SearchResult
from xsam_edge.export.precision.plan import Plan, Rule, read_plan, resolve
from xsam_edge.export.precision.presets import FP32_ISLANDS, preset
from xsam_edge.export.prepare import from_checkpoint
from xsam_edge.export.quantization.lowering import bundle_names
from xsam_edge.export.quantize_plan import QuantizeOptions
from xsam_edge.runtime.bundle.manifest import HalfRange, read_manifest
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.errors import BackendError, InputError, XSamError
from xsam_edge.runtime.progress import Step, silent

# Of the dialect of the FP32 bundle that exports begin with here, see ``traced_once``.
FEW = ["--calibration-samples", "6", "--gate-samples", "4", "--for", "cpu"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statistics")


@pytest.fixture(scope="module")
def traced_once(tmp_path_factory: pytest.TempPathFactory, shared_traces: None) -> Iterator[None]:
    """Exports begin with a copy of one FP32 bundle, which is what each would make first."""
    base = tmp_path_factory.mktemp("base")
    fill_bundle(from_checkpoint("shapes", progress=silent), base, finished=False)

    def copied(_request: object, folder: Path, _report: object, *, finished: bool) -> None:
        assert not finished
        shutil.copytree(base, folder, dirs_exist_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "fill_bundle", copied)
        yield


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory, cache: Path, shared_traces: None) -> Path:
    output = tmp_path_factory.mktemp("reduced") / "int8"
    options = ["--checkpoint", "shapes", "--precision", "int8", *FEW, "--calibration-cache", str(cache)]
    assert main([*options, "-o", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def int4(tmp_path_factory: pytest.TempPathFactory, cache: Path, traced_once: None) -> Path:
    output = tmp_path_factory.mktemp("reduced") / "int4"
    options = ["--checkpoint", "shapes", "--precision", "int4", *FEW, "--calibration-cache", str(cache)]
    # Of four pictures' masks a single one that falls on another thing may be more than the bound allows.
    assert main([*options, "--encoder-precision", "int8", "--min-iou", "0.9", "-o", str(output)]) == 0
    return output


def ratio(bundle: Path, full: Path, graph: str) -> float:
    files = (f"{graph}.onnx", f"{graph}.onnx.data")
    sizes = [sum(read_manifest(path).files[name].bytes for name in files) for path in (bundle, full)]
    return sizes[0] / sizes[1]


def test_an_int8_bundle_is_whole(int8: Path, shapes_bundle: Path) -> None:
    manifest = read_manifest(int8)
    check_files(int8, manifest)
    assert (manifest.precision, manifest.degraded) == ("int8", False)
    assert {"precision_plan.json", "report.json", "report.html"} <= set(manifest.files)
    assert manifest.graphs["llm"].quantized == manifest.graphs["image_encoder"].quantized == "float16"
    assert manifest.graphs["mask_decoder"].quantized is None
    assert manifest.embeddings.dtype == "float16"
    assert ratio(int8, shapes_bundle, "llm") <= 0.30
    assert ratio(int8, shapes_bundle, "image_encoder") < 0.40


def test_an_int8_bundle_says_what_it_costs(int8: Path) -> None:
    report = json.loads((int8 / "report.json").read_text())
    gate = report["gate"]
    assert gate["passed"] and gate["mean_iou"] >= 0.97 and gate["pictures"] == 4 and gate["token_agreement"] > 0.9
    assert {stage["graph"] for stage in report["stages"]} == {"image_encoder", "llm", "mask_decoder"}
    assert all(stage["sqnr_db"] > 15 and stage["cosine"] > 0.98 for stage in report["stages"])
    quantised = [block for block in report["blocks"] if block["precision"] == "int8"]
    known = [block["sqnr_db"] for block in quantised if block["sqnr_db"] is not None]  # logits: none with given answers
    assert len(quantised) > 30 and len(known) >= len(quantised) - 1 and all(10 < ratio < 80 for ratio in known)
    assert report["smoothing"] and report["unquantised"] and report["worst"]
    html = (int8 / "report.html").read_text()
    assert "data:image/jpeg" in html and f"{gate['mean_iou']:.4f}" in html


def test_the_stored_plan_makes_the_same_graphs(int8: Path, tmp_path: Path, cache: Path, traced_once: None) -> None:
    names = ["image_encoder.onnx", "image_encoder.onnx.data", "llm.onnx", "llm.onnx.data", "mask_decoder.onnx"]
    options = ["--checkpoint", "shapes", "--precision-plan", str(int8 / "precision_plan.json"), *FEW]
    output = tmp_path / "again"
    assert main([*options, "--calibration-cache", str(cache), "-o", str(output)]) == 0
    first, second = read_manifest(int8), read_manifest(output)
    assert [first.files[name] for name in names] == [second.files[name] for name in names]
    assert second.precision == "int8"
    # The statistics of the first export served.
    assert json.loads((output / "report.json").read_text())["calibration"]["from_cache"]


def test_a_cache_of_codes_is_measured_and_stands_in_the_plan(tmp_path: Path, cache: Path, traced_once: None) -> None:
    common = ["--checkpoint", "shapes", *FEW, "--calibration-cache", str(cache), "--min-iou", "0.9"]
    one, other = tmp_path / "one", tmp_path / "other"
    assert main([*common, "--precision", "fp16", "--kv-cache-precision", "int8", "-o", str(one)]) == 0
    manifest = read_manifest(one)
    assert manifest.graphs["llm"].input("past_value.5").dtype == "int8"
    assert (manifest.precision, manifest.graphs["mask_decoder"].quantized) == ("fp16", None)
    report = json.loads((one / "report.json").read_text())
    assert report["gate"]["passed"] and report["calibration"]["samples"] == 6
    assert any("keys and values are stored in int8" in note for note in report["notes"])
    assert read_plan(one / "precision_plan.json").kv_cache == "int8"
    assert main([*common, "--precision-plan", str(one / "precision_plan.json"), "-o", str(other)]) == 0
    again = read_manifest(other)
    assert {name: manifest.files[name] for name in ("llm.onnx", "llm.onnx.data")} == {
        name: again.files[name] for name in ("llm.onnx", "llm.onnx.data")
    }


def test_an_int4_bundle_is_smaller(int4: Path, shapes_bundle: Path) -> None:
    manifest = read_manifest(int4)
    check_files(int4, manifest)
    assert manifest.precision == "int4"
    assert ratio(int4, shapes_bundle, "llm") <= 0.20
    assert ratio(int4, shapes_bundle, "image_encoder") < 0.40
    plan = read_plan(int4 / "precision_plan.json")
    found = resolve(plan, bundle_names(shapes_bundle))
    kinds = {name: item.quantized for name, item in found.items() if item.quantized}
    assert {kind for name, kind in kinds.items() if "/llm/model/layers." in name} == {"int4"}
    assert kinds["/llm/MatMul"] == "int8"


def searched(*results: tuple[Plan, float, bool], pictures: int = 2) -> type[quantize.Search]:
    """A search that finds these plans, scores and whether they pass, with two of twelve blocks raised in seven trials.

    ``told`` has the scores of those that missed the bound as they were written.
    """
    raised = tuple(RaisedBlock(*block, "") for block in (("/a/*", "fp16"), ("/a/*", "fp32"), ("/b/*", "fp32")))

    class Found(quantize.Search):
        told: ClassVar[list[float]] = []

        def results(self, plan: Plan) -> Iterator[SearchResult]:
            for found, iou, passed in results:
                yield SearchResult(found, Score(iou, 0.1, None, pictures, 1, {}, ()), raised, {}, 12, (), 7, passed)

        def below(self, result: SearchResult, score: Score) -> None:
            self.told.append(score.mean_iou)

    return Found


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there may be a GPU")
def test_a_gpu_that_is_not_there_is_told_before_any_work(tmp_path: Path) -> None:
    request = from_checkpoint("shapes", progress=silent)
    steps: list[Step] = []
    with pytest.raises(BackendError, match="has no CUDAExecutionProvider"):
        quantize.quantize_bundle(
            request, tmp_path / "bundle", QuantizeOptions("int8", device="cuda"), progress=steps.append
        )
    assert list(tmp_path.iterdir()) == [] and steps == []


def test_a_bound_that_cannot_be_held_is_an_error(
    tmp_path: Path, cache: Path, traced_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = from_checkpoint("shapes", progress=silent)
    options = QuantizeOptions("fp16", samples=6, held_out=2, checked=0, min_iou=0.97, cache=cache)
    monkeypatch.setattr(quantize, "Search", searched((Plan("fp16"), 0.5, False)))
    with pytest.raises(
        XSamError, match=r"of 0\.5000 ± 0\.1960, below .* 0\.97; .* 7 trials, with 2 of 12 bl.*--allow-degraded"
    ):
        quantize.quantize_bundle(request, tmp_path / "bundle", options, progress=silent)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(quantize, "Search", searched((Plan("fp16"), 0.5, False), pictures=1))
    with pytest.raises(XSamError, match=r"of 0\.5000 on a single picture, below"):
        quantize.quantize_bundle(request, tmp_path / "bundle", options, progress=silent)
    manifest, facts = quantize.quantize_bundle(
        request, tmp_path / "bundle", replace(options, allow_degraded=True, min_iou=1.0), progress=silent
    )
    assert manifest.degraded and facts.degraded and "shipped because" in " ".join(facts.notes)
    assert read_manifest(tmp_path / "bundle").degraded
    # Nobody looked at the range of FP16, and both files say so.
    assert manifest.half_range == HalfRange(0)
    assert any("not checked" in note for note in facts.notes)


def test_what_misses_the_bound_as_it_is_written_is_written_anew(
    tmp_path: Path, traced_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first plan is FP16 throughout, which costs more than the bound allows, whatever a trial said."""
    search = searched((Plan("fp16"), 1.0, True), (Plan("fp32"), 1.0, True))
    monkeypatch.setattr(quantize, "Search", search)
    request = from_checkpoint("shapes", progress=silent)
    options = QuantizeOptions("fp16", samples=2, held_out=1, checked=1, min_iou=0.9999)
    manifest, facts = quantize.quantize_bundle(request, tmp_path / "bundle", options, progress=silent)
    assert len(search.told) == 1 and 0.5 < search.told[0] < 0.9999
    check_files(tmp_path / "bundle", manifest)
    assert (manifest.precision, manifest.degraded, manifest.half_range) == ("fp32", False, None)
    assert facts.gate is not None and facts.gate.passed and facts.gate.mean_iou > 0.9999
    assert any("all floating-point values are FP32" in note for note in facts.notes)
    assert read_plan(tmp_path / "bundle" / quantize.PLAN_FILE).float == "fp32"


def test_what_fp16_cannot_hold_is_raised(tmp_path: Path, shapes_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(_request: object, folder: Path, _report: object, *, finished: bool) -> None:
        shutil.copytree(shapes_bundle, folder, dirs_exist_ok=True)
        overflow(folder)

    monkeypatch.setattr(quantize, "fill_bundle", overflowing)
    request = from_checkpoint("shapes", progress=silent)
    options = QuantizeOptions("fp16", samples=2, held_out=1, checked=1)
    manifest, facts = quantize.quantize_bundle(request, tmp_path / "bundle", options, progress=silent)
    known = manifest.half_range
    assert known is not None and known == read_manifest(tmp_path / "bundle").half_range
    assert known.pictures == 1 and known.largest < 32752 and known.raised == len(facts.raised) > 8
    assert {item.to for item in facts.raised} == {"fp32"}
    assert {item.pattern for item in facts.raised} >= {node for nodes in PLACES.values() for node in nodes}
    assert facts.gate is not None and facts.gate.passed and facts.gate.trials == 1
    html = (tmp_path / "bundle" / "report.html").read_text()
    assert "Range of FP16" in html and f"{known.raised} nodes given FP32" in html
    # The plan says it by itself, and a plan that says otherwise is refused.
    plan = read_plan(tmp_path / "bundle" / quantize.PLAN_FILE)
    again = replace(options, plan=plan, min_iou=0)
    second, facts = quantize.quantize_bundle(request, tmp_path / "again", again, progress=silent)
    assert not facts.raised and second.files["llm.onnx.data"] == manifest.files["llm.onnx.data"]
    forced = replace(again, plan=Plan("fp16", FP32_ISLANDS["cpu"], (Rule("/llm/model/layers.2/**", "fp16"),)))
    with pytest.raises(InputError, match=r"keeps /llm/model/layers\.2/mlp/\S+ in fp16 by its rule"):
        quantize.quantize_bundle(request, tmp_path / "forced", forced, progress=silent)
    assert not (tmp_path / "forced").exists()


def test_odd_pictures_are_no_obstacle(tmp_path: Path, traced_once: None) -> None:
    """Fewer than a block is tried on: black, grey, one pixel high, of two bits."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, image in (
        ("black", Image.new("RGB", (96, 96))),
        ("flat", Image.new("L", (200, 1), 128)),
        ("bits", Image.new("1", (2, 2))),
    ):
        image.save(folder / f"{name}.png")
    request = from_checkpoint("shapes", progress=silent)
    options = QuantizeOptions("fp16", data=str(folder))
    manifest, facts = quantize.quantize_bundle(request, tmp_path / "bundle", options, progress=silent)
    assert facts.gate is not None and facts.gate.passed and facts.gate.pictures >= 1
    assert manifest.half_range is not None and manifest.half_range.pictures in (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calibration-data", "photographs"], "photographs"),
        (["--ranges", "median"], "median"),
        (["--precision-plan", "none.json"], "give one"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_work(
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantize, "fill_bundle", lambda *_, **__: pytest.fail("an export began"))
    code = main(["--checkpoint", "shapes", "--precision", "int8", *options, "-o", str(tmp_path / "bundle")])
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_preset_names_only_what_the_demo_model_has(shapes_bundle: Path) -> None:
    names = bundle_names(shapes_bundle)
    int8 = resolve(preset("int8", names.nodes), names)
    kept = [name for name in names.sites if not int8[name].quantized and not name.startswith("/segmentor/decoder")]
    assert all(
        any(part in name for part in ("patch_embed", "sampling_offsets", "mask_projection", "llm_projector"))
        for name in kept
    )
    assert sum(item.quantized is not None for item in int8.values()) > 80


def test_an_images_keys_and_values_are_sites_that_no_preset_quantises(phi3_gpu_bundle: Path) -> None:
    """For GPUs they are in the image encoder, whose every other product INT8 means."""
    names = bundle_names(phi3_gpu_bundle)
    memory = [name for name in names.sites if "/cross_attn/memory/" in name]
    assert len(memory) == 6 and all("int8" in names.sites[name] for name in memory)
    int8 = resolve(preset("int8", names.nodes, dialect="gpu"), names)
    assert not any(int8[name].quantized for name in memory)
    asked = Plan("fp16", (), (Rule("/segmentor/decoder/**/memory/*", "int8"),))
    assert {name for name, item in resolve(asked, names).items() if item.quantized} == set(memory)


def test_an_fp8_bundle_holds_its_masks(tmp_path: Path, cache: Path, shapes_bundle: Path, traced_once: None) -> None:
    options = ["--checkpoint", "shapes", "--precision", "fp8", *FEW, "--calibration-cache", str(cache)]
    assert main([*options, "--min-iou", "0.9", "-o", str(tmp_path / "fp8")]) == 0
    manifest, report = read_manifest(tmp_path / "fp8"), json.loads((tmp_path / "fp8" / "report.json").read_text())
    check_files(tmp_path / "fp8", manifest)
    assert manifest.precision == "fp8" and not manifest.degraded and report["gate"]["mean_iou"] > 0.95
    assert [manifest.graphs[name].codes for name in ("image_encoder", "llm", "mask_decoder")] == [
        ("fp8",),
        ("fp8",),
        (),
    ]
    assert ratio(tmp_path / "fp8", shapes_bundle, "llm") <= 0.30
    left = {block["precision"] for block in report["blocks"] if block["name"].startswith("/seg_connector")}
    assert left == {"fp32"}  # on a CPU an island, on a GPU convolutions in fp16
    assert ".chip.fp8" in (tmp_path / "fp8" / "report.html").read_text()
