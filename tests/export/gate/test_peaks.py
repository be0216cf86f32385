"""Values that FP16 cannot hold, wherever they come up, are found and kept out of it, or refused by name."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from tests.export.overflowing import PLACES, overflow, scale
from xsam_edge.calibration.calibration_data import open_calibration
from xsam_edge.calibration.data.samples import Caption, Picture
from xsam_edge.export.gate.measure import Exam
from xsam_edge.export.gate.peaks import (
    LARGEST_HALF,
    MARGIN,
    Peaks,
    add_extremes,
    half_range,
    half_values,
    measure,
    peak_of,
    raise_peaks,
)
from xsam_edge.export.gate.trial import Trials
from xsam_edge.export.gate.weight_file import WeightFile
from xsam_edge.export.precision.plan import Assignment, NodePrecision, Plan, Rule, assign, resolve
from xsam_edge.export.precision.presets import preset
from xsam_edge.export.quantization.lowering import bundle_names
from xsam_edge.runtime.bundle.manifest import HalfRange
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import silent

DATA = open_calibration("shapes", 2, 1)


def copy(bundle: Path, folder: Path) -> Path:
    return Path(shutil.copytree(bundle, folder / "base"))


def fp16(base: Path) -> Plan:
    return preset("fp16", bundle_names(base).nodes)


def peaks_of(base: Path, plan: Plan, count: int = 1) -> Peaks:
    values = half_values(base, assign(plan, bundle_names(base)))
    return measure(base, values, DATA.calibration, count, progress=silent)


def infinite(base: Path, assignment: Assignment) -> set[str]:
    """Values that an engine computes and that are not finite."""
    found: set[str] = set()

    def edit(name: str, model: ir.Model) -> None:
        kinds = {value: value.dtype for node in model.graph for value in node.outputs}
        add_extremes(model.graph, [str(value.name) for value, kind in kinds.items() if kind == ir.DataType.FLOAT])

    def listen(file: str, outputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        found.update(name for name, peak in map(lambda item: peak_of(*item), outputs.items()) if peak == np.inf)

    with WeightFile(base) as weights, contextlib.suppress(XSamError):  # the runtime refuses what is not finite
        trials = Trials(base, {}, weights)
        backend = trials.backend(assignment, edit=edit, listen=listen)
        model = XSam.load(trials.bundle(assignment), backend=backend, verify="none")
        with model.look(DATA.held_out[0].image()) as scene:
            scene.refer("the red circle", answer="append")
    return found


def test_what_overflows_is_raised_and_the_masks_hold(shapes_bundle: Path, tmp_path: Path) -> None:
    base = copy(shapes_bundle, tmp_path)
    overflow(base)
    names, plan = bundle_names(base), fp16(base)
    peaks = peaks_of(base, plan)
    raised = raise_peaks(base, plan, names, peaks, forced=False)
    islands = {rule.nodes: rule.why for rule in raised.islands[len(plan.islands) :]}
    for nodes in PLACES.values():
        for node in nodes:
            assert "on 1 picture; FP16 ends at 65,504" in islands[node]
    # Nothing but what is near: the two projections, what is between them, and no other layer.
    assert not [node for node in islands if "layers." in node and "layers.1/" not in node and "layers.2/" not in node]
    before, after = assign(plan, names), assign(raised, names)
    assert infinite(base, before) and not infinite(base, after)
    exam = Exam(base, DATA.held_out, progress=silent)
    with WeightFile(base) as weights:
        trials = Trials(base, {}, weights)
        scores = [exam.score(trials.bundle(each), trials.backend(each), what="").mean_iou for each in (before, after)]
    assert scores[0] < 0.9 < 0.97 < scores[1]
    known = half_range(base, after, peaks, len(islands))
    assert known is not None and 0 < known.largest < LARGEST_HALF / MARGIN and known.raised == len(islands) > 8
    assert peaks.pictures == known.pictures == 1


def test_an_integer_product_stays_one_with_float32_around_it(shapes_bundle: Path, tmp_path: Path) -> None:
    base = copy(shapes_bundle, tmp_path)
    overflow(base)
    names = bundle_names(base)
    plan = preset("int8", names.nodes)
    raised = raise_peaks(base, plan, names, peaks_of(base, plan), forced=False)
    node = "/llm/model/layers.2/mlp/down_proj/MatMul"
    assert resolve(plan, names)[node] == NodePrecision("fp16", "int8")
    assert resolve(raised, names)[node] == NodePrecision("fp32", "int8")


@pytest.mark.parametrize(
    ("graph", "value", "nodes"),
    [
        (  # scores before a softmax, which is an island by itself
            "llm",
            "/llm/model/layers.1/self_attn/Reshape_7_output_0",
            {"/llm/model/layers.1/self_attn/Reshape_7", "/llm/model/layers.1/self_attn/Add_2"},
        ),
        (  # what comes in to the norms and residuals of SAM: those are islands
            "image_encoder",
            "/segmentor/encoder/Add_output_0",
            {"/segmentor/encoder/Add"},
        ),
        (
            "image_encoder",
            "/segmentor/encoder/layers.0/mlp/lin2/Add_output_0",
            {"/segmentor/encoder/layers.0/mlp/lin2/Add"},
        ),
        ("llm", "logits", {"/llm/MatMul", "/ArgMax"}),
    ],
)
def test_who_makes_or_reads_a_value_is_raised(shapes_bundle: Path, graph: str, value: str, nodes: set[str]) -> None:
    names, plan = bundle_names(shapes_bundle), fp16(shapes_bundle)
    assert value in half_values(shapes_bundle, assign(plan, names))[graph]
    for peak, expected in ((LARGEST_HALF / MARGIN, nodes), (LARGEST_HALF / MARGIN - 1, set()), (np.inf, nodes)):
        raised = raise_peaks(shapes_bundle, plan, names, Peaks(3, {(graph, value): peak}), forced=False)
        assert {rule.nodes for rule in raised.islands} - {rule.nodes for rule in plan.islands} == expected
        assert value not in half_values(shapes_bundle, assign(raised, names))[graph] or not expected


@pytest.mark.parametrize(
    ("graph", "value"),
    [
        ("llm", "new_value.3"),
        ("llm", "past_key.0"),
        ("llm", "inputs_embeds"),
        ("image_encoder", "multi_scale.2"),
        ("image_encoder", "image_embeds"),
        ("mask_decoder", "multi_scale.1"),
    ],
)
def test_what_goes_between_graphs_cannot_be_raised(shapes_bundle: Path, graph: str, value: str) -> None:
    names, plan = bundle_names(shapes_bundle), fp16(shapes_bundle)
    with pytest.raises(InputError, match=rf"{value}, an (in|out)put of {graph}, reaches 4e\+04.*--precision fp32"):
        raise_peaks(shapes_bundle, plan, names, Peaks(3, {(graph, value): 4e4}), forced=False)
    whole = replace(plan, float="fp32", rules=(Rule("/llm/model/layers.0/mlp/**", "fp16"),))
    assert raise_peaks(shapes_bundle, whole, names, Peaks(3, {(graph, value): 4e4}), forced=False) == whole


def test_a_users_rule_is_not_overridden(shapes_bundle: Path) -> None:
    names = bundle_names(shapes_bundle)
    rule = Rule("/llm/model/layers.2/**", "fp16")
    plan = replace(fp16(shapes_bundle), rules=(rule,))
    peaks = Peaks(3, {("llm", "/llm/model/layers.2/mlp/Mul_1_output_0"): 7e4})
    with pytest.raises(InputError, match=r"keeps /llm/model/layers\.2/mlp/\S+ in fp16 by its rule for '/llm/model/lay"):
        raise_peaks(shapes_bundle, plan, names, peaks, forced=True)
    assert len(raise_peaks(shapes_bundle, plan, names, peaks, forced=False).islands) > len(plan.islands)
    freed = replace(plan, rules=(rule, Rule("/llm/model/layers.2/mlp/*", "fp32"), Rule("**/down_proj/*", "fp32")))
    assert raise_peaks(shapes_bundle, freed, names, peaks, forced=True) == freed


def test_peaks_of_a_cache_that_overflows(shapes_bundle: Path, tmp_path: Path) -> None:
    base = copy(shapes_bundle, tmp_path)
    scale(base, "llm", "llm.model.layers.1.self_attn.qkv_proj.weight.T", 2.0**20, start=0.99)
    plan = fp16(base)
    with pytest.raises(InputError, match=r"new_value\.1, an output of llm"):
        raise_peaks(base, plan, bundle_names(base), peaks_of(base, plan), forced=False)


def test_nothing_is_raised_and_known_where_no_picture_was_seen(shapes_bundle: Path) -> None:
    names, plan = bundle_names(shapes_bundle), fp16(shapes_bundle)
    assert half_range(shapes_bundle, assign(plan, names), Peaks(0, {}), 0) == HalfRange(0)
    assert half_range(shapes_bundle, assign(Plan("fp32"), names), Peaks(0, {}), 0) is None
    assert not any(half_values(shapes_bundle, assign(Plan("fp32"), names)).values())


def test_odd_pictures(shapes_bundle: Path) -> None:
    """Damaged ones are passed over, and one that asks for a caption only is asked for a phrase."""

    def damaged() -> Image.Image:
        raise OSError

    black = Picture("black", lambda: Image.new("RGB", (3, 1)), (Caption("", (), ()),))
    values = {name: frozenset[str]() for name in ("image_encoder", "mask_decoder")} | {
        "llm": frozenset({"logits", "new_key.0", "past_key.0"})
    }
    peaks = measure(shapes_bundle, values, [Picture("damaged", damaged, ()), black], 4, progress=silent)
    assert peaks.pictures == 1
    assert {name for _, name in peaks.magnitudes} >= {"logits", "new_key.0"}
    assert all(0 < peak < 1e4 for peak in peaks.magnitudes.values())
    with pytest.raises(InputError, match="no calibration picture can be read"):
        measure(shapes_bundle, values, [Picture("damaged", damaged, ())], 4, progress=silent)
