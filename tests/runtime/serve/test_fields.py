from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("python_multipart")

from xsam_edge.runtime.results import rle
from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.fields import FIELDS, Segmentation, read_fields
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.multipart import Part

IMAGE = Part("image", "a.png", bytearray(b"\x89PNG\r\n\x1a\n"))
SMALL = Limits(prompts=3, text=20, categories=4, regions=2, new_tokens=9)


def read(*fields: tuple[str, str], image: bool = True) -> Segmentation:
    parts = [Part(name, None, bytearray(value.encode())) for name, value in fields]
    return read_fields([IMAGE, *parts] if image else parts, SMALL, ())


def test_what_is_asked_for_tells_the_task() -> None:
    for field, value, task in (
        ("prompt", "a", "refer"),
        ("things", "a", "categories"),
        ("stuff", "a", "categories"),
        ("boxes", "[[0, 0, 1, 1]]", "regions"),
        ("points", "[[0, 0]]", "regions"),
    ):
        assert read((field, value)).question.task == task
    asked = read(("task", "reason"), ("prompt", " a "), ("prompt", "b"), ("threshold", "0.5"), ("several", "1"))
    assert (asked.question.task, asked.question.texts) == ("reason", (" a ", "b"))
    assert asked.question.options == {"several": True, "threshold": 0.5}
    assert read(("task", "caption"), ("max_tokens", "9")).question.options == {"max_new_tokens": 9}
    assert read(("scene", "x"), ("prompt", "a"), image=False).scene == "x"


def test_names_with_commas_are_a_list_of_json() -> None:
    options = read(("things", " car , man"), ("things", '["box, open"]')).question.options
    assert options["things"] == ["car", "man", "box, open"]


def test_run_lengths_are_masks() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    (given,) = read(("masks", json.dumps(rle.encode(mask)))).question.options["masks"]
    assert np.array_equal(given, mask)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ((("propmt", "a"),), "propmt", "unknown_field"),
        ((("x" * 500, "a"),), "x" * 80, "unknown_field"),
        ((), "task", "wrong_task"),
        ((("prompt", "a"), ("things", "b")), "task", "wrong_task"),
        ((("task", "segment"),), "task", "invalid_value"),
        ((("task", "chat"),), "task", "invalid_value"),
        ((("task", "refer"), ("task", "refer")), "task", "repeated_field"),
        ((("task", "refer"), ("things", "a")), "things", "wrong_field"),
        ((("prompt", "a"), ("form", "panoptic")), "form", "wrong_field"),
        ((("prompt", " "),), "prompt", "missing_prompt"),
        ((("task", "reason"),), "prompt", "missing_prompt"),
        ((("prompt", "a"),) * 4, "prompt", "invalid_value"),
        ((("prompt", "a" * 21),), "prompt", "too_long"),
        ((("prompt", "a"), ("mask_format", "bmp")), "mask_format", "invalid_value"),
        ((("prompt", "a"), ("threshold", "nan")), "threshold", "invalid_value"),
        ((("prompt", "a"), ("threshold", "1.5")), "threshold", "invalid_value"),
        ((("prompt", "a"), ("several", "maybe")), "several", "invalid_value"),
        ((("prompt", "a"), ("scene", "x")), "image", "missing_image"),
        ((("things", "a,,b"),), "things", "invalid_value"),
        ((("things", "[1]"),), "things", "invalid_value"),
        ((("things", "[" * 5000),), "things", "invalid_value"),
        ((("things", ",".join(map(str, range(10_000)))),), "things", "too_many_categories"),
        ((("stuff", "a" * 21),), "stuff", "too_long"),
        ((("things", "a"), ("form", "cubist")), "form", "invalid_value"),
        ((("boxes", "[[1, 2, 3]]"),), "boxes", "invalid_value"),
        ((("boxes", "[[1, 2, 3, NaN]]"),), "boxes", "invalid_value"),
        ((("boxes", "[[1, 2, 3, true]]"),), "boxes", "invalid_value"),
        ((("boxes", '{"a": 1}'),), "boxes", "invalid_value"),
        ((("boxes", "[]"),), "boxes", "missing_regions"),
        ((("boxes", "[[1, 2, 3, 4]]"), ("box_labels", "[0]")), "box_labels", "invalid_value"),
        ((("points", "[[1, 2], [3, 4], [5, 6]]"),), "boxes", "too_many_regions"),
        ((("points", "[[1, 1e999]]"),), "points", "invalid_value"),
        ((("masks", "[1]"),), "masks", "invalid_value"),
        ((("masks", '{"size": [1000000000, 1000000000], "counts": "0"}'),), "masks", "invalid_value"),
        ((("masks", '{"size": [2, 2], "counts": "!!"}'),), "masks", "invalid_value"),
        ((("masks", '{"size": [2, true], "counts": "4"}'),), "masks", "invalid_value"),
        ((("task", "caption"), ("max_tokens", "10")), "max_tokens", "invalid_value"),
        ((("task", "caption"), ("max_tokens", "²")), "max_tokens", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(fields: tuple[tuple[str, str], ...], param: str, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(*fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert len(caught.value.message) < 500


def test_a_picture_is_needed() -> None:
    with pytest.raises(RequestError, match="neither was given"):
        read(("prompt", "a"), image=False)
    with pytest.raises(RequestError, match="Paths are not read on the server"):
        read(("prompt", "a"), ("image", "/etc/passwd"), image=False)


def test_every_field_is_described() -> None:
    pytest.importorskip("fastapi")
    from xsam_edge.runtime.serve import schema

    assert schema._MEANT.keys() == FIELDS.keys()
