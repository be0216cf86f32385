"""A trial of a plan and the bundle that the plan writes are the same graphs, and score the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xsam_edge.calibration.calibration_data import open_calibration
from xsam_edge.calibration.staged.division import divide
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.export.bundle import write_graph
from xsam_edge.export.gate.frame import write_frame
from xsam_edge.export.gate.measure import Exam
from xsam_edge.export.gate.peaks import measure
from xsam_edge.export.gate.trial import Trials, written_backend
from xsam_edge.export.gate.weight_file import WeightFile
from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.precision.plan import Assignment, CachePrecision, NodePrecision, Plan, Rule, assign
from xsam_edge.export.precision.presets import FP32_ISLANDS, preset
from xsam_edge.export.quantization.kv_cache import CacheCodes, new_rows
from xsam_edge.export.quantization.lowering import bundle_names, lower, open_graph
from xsam_edge.export.quantization.sites import find_sites
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import silent

DATA = open_calibration("shapes", 1, 2)


@pytest.fixture(scope="module")
def base(shapes_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that trials may keep weights in."""
    return Path(shutil.copytree(shapes_bundle, tmp_path_factory.mktemp("trial") / "base"))


@pytest.fixture(scope="module")
def exam(base: Path) -> Exam:
    return Exam(base, DATA.held_out, progress=silent)


@pytest.fixture(scope="module")
def ranges(base: Path) -> dict[str, float]:
    """The largest magnitude of each site's activation on a picture."""
    opened = {name: open_graph(base / f"{name}.onnx") for name in contract.GRAPHS}
    sites = {name: find_sites(graph.model.graph, graph.plans) for name, graph in opened.items()}
    values = {name: frozenset(str(site.activation.name) for site in found) for name, found in sites.items()}
    values[contract.LLM] |= set(new_names(base))
    peaks = measure(base, values, DATA.calibration, 1, progress=silent).magnitudes
    return {name: peaks[contract.LLM, name] for name in new_names(base)} | {
        str(site.node.name): peaks[name, str(site.activation.name)]
        for name, found in sites.items()
        for site in found
        if (name, str(site.activation.name)) in peaks
    }


def new_names(base: Path) -> list[str]:
    """New keys and values."""
    return [str(value.name) for value in new_rows(load_graph(base / "llm.onnx").graph)]


def cache_ranges(base: Path, ranges: dict[str, float]) -> dict[str, np.ndarray]:
    """Of keys and values, all heads alike."""
    heads = read_manifest(base).settings.model.num_kv_heads
    return {name: np.full(heads, ranges[name], np.float32) for name in new_names(base)}


def write(base: Path, folder: Path, assignment: Assignment, ranges: dict[str, float]) -> None:
    """A bundle of an assignment's graphs."""
    folder.mkdir()
    if assignment.float == "fp16" or assignment.kv_cache is not None:
        write_frame(base, folder, assignment.float, assignment.kv_cache)
    else:
        shutil.copytree(base, folder, dirs_exist_ok=True)
    cache = None if assignment.kv_cache is None else CacheCodes(assignment.kv_cache, cache_ranges(base, ranges))
    graphs = {}
    for name in contract.GRAPHS:
        opened = open_graph(base / f"{name}.onnx")
        lower(opened, assignment.float, assignment.nodes, ranges, FP32_TENSORS, cache=cache)
        graphs[name] = write_graph(opened.model, opened.plans, opened.source, name, folder, silent, annotated=False)
    manifest = read_manifest(folder)
    assert {name: (spec.inputs, spec.outputs) for name, spec in manifest.graphs.items()} == {
        name: (spec.inputs, spec.outputs) for name, spec in graphs.items()
    }
    files = {name: replace(entry, bytes=(folder / name).stat().st_size) for name, entry in manifest.files.items()}
    (folder / MANIFEST_FILE).write_text(replace(manifest, graphs=graphs, files=files).to_json())


def plan(kind: str, float_type: str, base: Path) -> Plan:
    return preset(kind, bundle_names(base).nodes, float_type=float_type)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "around", "kv_cache"),
    [
        ("fp16", "fp16", None),
        ("int8", "fp16", None),
        ("int8", "fp32", None),
        ("int4", "fp16", None),
        ("int4", "fp32", None),
        ("fp16", "fp16", "int8"),
        ("int8", "fp32", "fp8"),
    ],
)
def test_a_trial_scores_as_the_bundle_that_is_written(
    base: Path,
    exam: Exam,
    ranges: dict[str, float],
    kind: str,
    around: str,
    kv_cache: CachePrecision | None,
    tmp_path: Path,
) -> None:
    assignment = assign(replace(plan(kind, around, base), kv_cache=kv_cache), bundle_names(base))
    with WeightFile(base) as weights:
        trials = Trials(base, ranges, weights, cache_ranges=cache_ranges(base, ranges))
        tried = exam.score(trials.bundle(assignment), trials.backend(assignment), what="trial")
        again = exam.score(trials.bundle(assignment), trials.backend(assignment), what="again")
    write(base, tmp_path / "written", assignment, ranges)
    with WeightFile(tmp_path / "written") as own:
        found = exam.score(tmp_path / "written", written_backend(tmp_path / "written", own), what="written")
        assert own.path.exists() == (around == "fp16")
    assert not own.path.exists() and not (base / own.path.name).exists()
    assert 0.5 < tried.mean_iou < 1
    assert (tried.mean_iou, tried.stderr, tried.tasks) == (found.mean_iou, found.stderr, found.tasks)
    assert (again.mean_iou, again.tasks) == (tried.mean_iou, tried.tasks)
    for one, other in zip(tried.worst, found.worst, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize(("around", "kv_cache"), [("fp16", None), ("fp32", None), ("fp16", "fp8"), ("fp32", "int8")])
def test_a_trial_by_stages_scores_as_the_bundle_that_is_written(
    base: Path,
    ranges: dict[str, float],
    around: str,
    kv_cache: CachePrecision | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xsam_edge.calibration.staged.run.WHOLE_BYTES", 0)
    exam = Exam(base, DATA.held_out, progress=silent)
    assignment = assign(replace(plan("int8", around, base), kv_cache=kv_cache), bundle_names(base))
    with WeightFile(base) as weights:
        trials = Trials(base, ranges, weights, cache_ranges=cache_ranges(base, ranges))
        tried = exam.score(trials.bundle(assignment), trials.backend(assignment), what="trial")
    write(base, tmp_path / "written", assignment, ranges)
    with WeightFile(tmp_path / "written") as own:
        found = exam.score(tmp_path / "written", written_backend(tmp_path / "written", own), what="written")
    assert 0.5 < tried.mean_iou < 1
    assert (tried.mean_iou, tried.stderr, tried.tasks) == (found.mean_iou, found.stderr, found.tasks)


@pytest.mark.parametrize(("kind", "around"), [("fp16", "fp16"), ("int8", "fp32"), ("int8", "fp16"), ("int4", "fp16")])
def test_the_language_model_of_a_trial_has_the_parts_of_fp32(
    base: Path, ranges: dict[str, float], kind: str, around: str
) -> None:
    """Casts and scales of all pasts stand before the first layer, of all new keys and values behind the last one."""
    own = {tensor.name for tensor in read_manifest(base).graphs[contract.LLM].outputs}
    plain = divide(load_graph(base / "llm.onnx").graph, own, 1)
    with WeightFile(base) as weights:
        trials = Trials(base, ranges, weights, cache_ranges=cache_ranges(base, ranges))
        chosen = replace(plan(kind, around, base), kv_cache="int8")
        backend = trials.backend(assign(chosen, bundle_names(base)))
        found = divide(backend.edited(base / "llm.onnx").graph, own, 1)
    layers = [name for name in plain.cuts if "/layers." in name]
    assert len(layers) > 4 and layers == [name for name in found.cuts if name in layers]


def test_a_trial_without_half_types_is_float32_between_graphs(base: Path, exam: Exam) -> None:
    """Blocks that are tried alone are not blamed for embeddings and features in FP16."""
    names = bundle_names(base)
    nodes = dict.fromkeys(names.nodes, NodePrecision("fp32"))
    with WeightFile(base) as weights:
        trials = Trials(base, {}, weights)
        assert exam.score(base, trials.backend(Assignment("fp32", nodes)), what="").mean_iou > 0.9999
        assignment = Assignment("fp16", nodes)
        half = trials.backend(assignment)
        model = XSam.load(trials.bundle(assignment), backend=half, verify="none")
        image = DATA.held_out[0].image()
        with model.look(image) as scene:
            features = scene.refer("the red circle")
        assert features.token_ids
        levels = [t.dtype for t in model.manifest.graphs["mask_decoder"].inputs if t.name.startswith("multi_scale")]
        assert levels == ["float16"] * 3


def test_a_graph_that_is_float32_throughout_has_the_plans_types_at_its_edges(base: Path) -> None:
    whole = Plan("fp16", FP32_ISLANDS["cpu"], (Rule("**", "fp32"),))
    opened = open_graph(base / "mask_decoder.onnx")
    nodes = assign(whole, bundle_names(base)).nodes
    assert {nodes[str(node.name)].float for node in opened.model.graph} == {"fp32"}
    lower(opened, "fp16", nodes, {}, FP32_TENSORS)
    kinds = {str(value.name): value.dtype.numpy().name for value in opened.model.graph.inputs}
    assert kinds[contract.multi_scale(0)] == "float16"
    assert {kinds[name] for name in (contract.MASK_FEATURES, contract.SEG_EMBED)} == {"float32"}
