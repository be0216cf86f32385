from typing import Any

import numpy as np
import pytest

from xsam_edge.calibration.verify.postprocessing import Decoded, RecordedOptions, measure, nearby, recorded_options
from xsam_edge.calibration.verify.reference import Recording
from xsam_edge.runtime.image.resize import Frame


class Archive(dict):
    @property
    def files(self) -> list[str]:
        return list(self)


def recording(meta: dict[str, Any], **arrays: np.ndarray) -> Recording:
    named = Archive({f"tensor/{key}": value for key, value in arrays.items()})
    return Recording("img_x", "tensor", "tensor/", named, {"input_text": "", **meta})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "own", "key", "facts", "expected"),
    [
        ("img_genseg", "img_genseg|pan", "post", {}, ("panoptic", 0.5, 0.8, 0.5)),
        ("img_genseg", "genseg(sem)", "post", {}, ("semantic", 0.5, 0.8, 0.5)),
        ("img_genseg", "img_genseg|ins", "post", {}, ("instance", 0.5, 0.8, 0.5)),
        ("img_ovseg", "img_ovseg", "post", {"segments_info": []}, ("panoptic", 0.0, 0.8, 0.5)),
        ("img_ovseg", "ovseg", "post", {"sampled_labels": None}, ("semantic", 0.0, 0.8, 0.5)),
        ("img_genseg", "", "post[pan_t0.25_o0.1_m.2]", {}, ("panoptic", 0.25, 0.1, 0.2)),
        ("img_genseg", "", "post[ins_t0.3]", {}, ("instance", 0.3, 0.8, 0.5)),
        ("img_genseg", "", "post[sem]", {}, ("semantic", 0.5, 0.8, 0.5)),
        ("img_refseg", "img_refseg", "post[default]", {}, ("refer", 0.5, 0.8, 0.5)),
        ("img_refseg", "img_grefseg", "post", {}, ("generalised", 0.6, 0.8, 0.5)),
        ("img_reaseg", "", "post[grefseg]", {}, ("generalised", 0.6, 0.8, 0.5)),
        ("img_gcgseg", "", "post", {}, ("grounded", 0.5, 0.8, 0.5)),
        ("img_intseg", "", "post[t0.2]", {}, ("interactive", 0.2, 0.8, 0.5)),
        ("img_vgdseg", "", "post[t1]", {}, ("instance", 1.0, 0.8, 0.5)),
    ],
)
def test_names_of_options(task: str, own: str, key: str, facts: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (options,) = recorded_options(recording({"task": task, "postprocess": own, key: facts, "other": {}}), {})
    assert (options.form, options.threshold, options.overlap, options.mask) == expected


@pytest.mark.parametrize(
    ("official", "own", "form"),
    [
        ("img_refseg", "img_refseg", "refer"),
        ("refseg", "refseg", "refer"),
        ("img_refseg", "img_grefseg", "generalised"),
        ("img_refseg", "", "refer"),
        ("", "img_reaseg", "refer"),
        ("", "", "refer"),
        ("img_gcgseg", "gcgseg", "grounded"),
        ("intseg", "intseg", "interactive"),
        ("img_vgdseg", "img_vgdseg", "instance"),
        ("img_genseg", "img_genseg|pan", "panoptic"),
        ("genseg", "genseg(sem)", "semantic"),
        ("img_ovseg", "img_ovseg", "semantic"),
    ],
)
def test_a_recording_may_have_any_name(official: str, own: str, form: str) -> None:
    """A file ``img_refseg_crowd.npz`` calls itself so."""
    called = {"task": "img_refseg_crowd", "official_task": official, "postprocess": own}
    (options,) = recorded_options(recording({**called, "post": {}}), {})
    assert options.form == form
    assert options.threshold == {"generalised": 0.6}.get(form, 0.0 if official == "img_ovseg" else 0.5)


CLASSES = ["sky", "cat", "car"]


@pytest.mark.parametrize(
    ("tasks", "meta", "things"),
    [
        ({"prompt": "ins: car, cat; sem: sky"}, {}, {1, 2}),
        ({"prompt": "sem: sky"}, {}, set()),
        ({"classes": [["cat"], ["sky", "car"]]}, {}, {1}),
        ({}, {"post[pan_t0.5]": {"segments_info": [{"category_id": 2, "isthing": True}]}}, {2}),
        ({}, {"post[ins_t0.5]": {"segments_info": [{"label_id": 1}]}}, {1}),
        ({"prompt": "ins: cat; sem: road"}, {"post[ins_t0.5]": {"segments_info": [{"label_id": 2}]}}, {2}),
        ({"classes": [["dog"], ["sky"]]}, {"post[ins_t0.5]": {"segments_info": [{"label_id": 2}]}}, {2}),
    ],
)
def test_things(tasks: dict[str, Any], meta: dict[str, Any], things: set[int]) -> None:
    facts = {"task": "img_genseg", "classes": CLASSES, "postprocess": "img_genseg|ins", "post": {}, **meta}
    first, *_ = recorded_options(recording(facts), tasks)
    assert first.things == things
    aaai, *_ = recorded_options(recording({**facts, "branch": "aaai"}), tasks)
    assert aaai.things is None, "instances of the AAAI26 line are not told apart from stuff"


def test_nearby_moves_thresholds() -> None:
    options = RecordedOptions("post", "panoptic", 0.0, 0.8, 0.5, None, 1)
    assert [(o.threshold, o.overlap) for o in nearby(options, 0.1)] == [
        (0.0, 0.8),
        (0.1, 0.8),
        (0.0, pytest.approx(0.7)),
        (0.0, pytest.approx(0.9)),
    ]


def stripes(scores: list[list[float]]) -> Decoded:
    """One query per stripe of two rows, with these class probabilities, background last."""
    count = len(scores)
    masks = np.full((count, count, 4), -9, np.float32)
    masks[np.arange(count), np.arange(count)] = 9
    size = (count, 4)
    return Decoded(np.log(np.array(scores, np.float32)), masks, Frame(size, size, size), "mask", "logits", None)


def test_panoptic_ids_given_twice() -> None:
    """The official code gives the thing after a reused stuff id the id of an earlier thing; the map is still ours."""
    decoded = stripes([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    infos = [
        {"id": 1, "category_id": 0, "score": 0.9},
        {"id": 2, "category_id": 1, "score": 0.8},
        {"id": 1, "category_id": 0, "score": 0.9},
        {"id": 2, "category_id": 1, "score": 0.8},
    ]
    shown = np.repeat([[1], [2], [1], [2]], 4, axis=1).astype(np.uint8)
    options = RecordedOptions("post", "panoptic", 0.5, 0.8, 0.5, frozenset({1}), 2)
    found = measure(options, decoded, recording({"post": {"segments_info": infos}}, **{"post.segmentation": shown}))
    assert [(key, item.max_abs or 0, item.iou) for key, _, item in found] == [
        ("post.labels", 0, None),
        ("post.scores", pytest.approx(0, abs=1e-6), None),
        ("post.segmentation", 0, 1.0),
    ]
    wrong = recording({"post": {"segments_info": infos[:3]}}, **{"post.segmentation": np.where(shown == 2, 0, shown)})
    (_, _, labels), _, (_, _, segmentation) = measure(options, decoded, wrong)
    assert labels.max_abs == np.inf
    assert segmentation.iou == 0


def instances(order: list[int], scores: list[float]) -> dict[str, np.ndarray]:
    masks = np.zeros((len(order), 4, 4), np.uint8)
    masks[np.arange(len(order)), order] = 1
    return {
        "post.inst.pred_masks": np.packbits(masks, axis=-1),
        "post.inst.scores": np.array(scores, np.float32),
        "post.inst.pred_classes": np.zeros(len(order), np.int32),
        "post.inst.pred_boxes": np.array([[0, row, 4, row + 1] for row in order], np.float32),
    }


INSTANCE = RecordedOptions("post", "instance", 0.4, 0.8, 0.5, None, 1)


def test_instances_in_any_order() -> None:
    decoded = stripes([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3], [0.3, 0.7]])
    recorded = instances([2, 0, 1], [0.7, 0.9, 0.5])
    shown = np.full((4, 4), 255, np.uint8)
    shown[[2, 0, 1]] = np.arange(3)[:, None]
    facts = {"post": {"inst.mask_shape": [3, 4, 4]}}
    found = measure(INSTANCE, decoded, recording(facts, **recorded, **{"post.segmentation": shown}))
    assert {key: item.iou for key, kind, item in found if kind in ("masks", "maps")} == {
        "post.inst.pred_masks": 1.0,
        "post.segmentation": 1.0,
    }
    assert all(item.max_abs < 1e-3 for _, kind, item in found if kind in ("floats", "ids"))


def test_an_instance_that_is_missing_or_elsewhere() -> None:
    decoded = stripes([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3], [0.3, 0.7]])
    missing = recording({"post": {"inst.mask_shape": [2, 4, 4]}}, **instances([2, 0], [0.7, 0.9]))
    found = {key: item for key, _, item in measure(INSTANCE, decoded, missing)}
    assert found["post.inst.pred_masks"].iou == 0
    assert "2 recorded, 3 found" in found["post.inst.pred_masks"].note
    moved = recording({"post": {"inst.mask_shape": [3, 4, 4]}}, **instances([2, 3, 1], [0.7, 0.9, 0.5]))
    found = {key: item for key, _, item in measure(INSTANCE, decoded, moved)}
    assert found["post.inst.pred_masks"].iou == 0
    assert found["post.inst.scores"].max_abs < 1e-3


def test_empty_recorded_instances_are_no_segments() -> None:
    decoded = stripes([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    decoded.mask_logits[1] = -9
    recorded = instances([0, 1, 2, 3], [0.9, 0.0, 0.7, 0.6])
    recorded["post.inst.pred_masks"][1] = 0
    found = measure(INSTANCE, decoded, recording({"post": {"inst.mask_shape": [4, 4, 4]}}, **recorded))
    assert {key: item.iou for key, kind, item in found if kind == "masks"} == {"post.inst.pred_masks": 1.0}
    assert not any(item.note for _, _, item in found)
