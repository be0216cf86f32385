"""Whatever the Python interface is given, it does what was asked or raises an error of ours in one line."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.recorded import DATA
from tests.runtime.loaded import load
from tests.runtime.test_scene import same
from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.sources import Folder

FOLDER = DATA / "golden-phi3"
IMAGE = Image.open(FOLDER / "image.png").convert("RGB")
PIXELS = np.asarray(IMAGE)
BOX = (10, 10, 60, 70)
NAN = float("nan")

# Made anew for each call: a generator is used up by one.
POOL: tuple[Callable[[], Any], ...] = (
    *(lambda value=value: value for value in (None, True, False, 0, 1, -1, 7, 10**30, 10**5000, 0.5, -0.5, 1e300)),
    *(
        lambda value=value: value
        for value in (NAN, float("inf"), 1j, Decimal("0.5"), Fraction(1, 2), Fraction(1, 10**400))
    ),
    *(lambda value=value: value for value in ("", " ", "official", "append", "a car", "a\0b", "\ud800", "x" * 400)),
    *(
        lambda value=value: value
        for value in (b"", b"a car", [], [1], [None], ["a car"], ["a car", 5], [BOX], [[1, 2]])
    ),
    *(lambda value=value: value for value in (BOX, (5, 6), (1, "a"), {}, {"a": 1}, {1, 2}, frozenset("ab"), range(4))),
    *(lambda value=value: value for value in (np.float32(0.5), np.float64(NAN), np.int64(7), np.bool_(True))),
    *(lambda value=value: value for value in (np.str_("a car"), np.array(7), np.array(0.5), np.array([1.0, 2.0]))),
    *(lambda value=value: value for value in (np.array(["a", "b"]), np.array([None]), np.datetime64("2020-01-01"))),
    *(lambda value=value: value for value in (np.zeros((2, 4)), np.ones((100, 150), bool), PIXELS, PIXELS[..., 0])),
    *(lambda value=value: value for value in (PIXELS[None] / 255, IMAGE, Path("nowhere"), Path(FOLDER), ...)),
    object,
    lambda: lambda *_: None,
    lambda: (number for number in range(4)),
    lambda: iter(["a car"]),
    lambda: count(),
)

Call = Callable[[XSam, Any, Path], object]


def _frames(model: XSam, **options: Any) -> list[Any]:
    given = {"frames": [PIXELS, PIXELS], "refer": "a car", **options}
    with model.stream(**given) as stream:
        return list(islice(stream, 2))


def _ask(method: str, name: str, **others: Any) -> Call:
    return lambda model, value, _: getattr(model.look(PIXELS), method)(**{**others, name: value})


def _load(name: str) -> Call:
    return lambda _, value, bundle: XSam.load(**{"bundle": bundle, "threads": 1, "verify": "none", name: value})


def _frame_source(value: Any) -> Any:
    """Numbers are cameras, which a machine may have."""
    return None if isinstance(value, (int, np.integer)) else value


CALLS: dict[str, Call] = {
    **{f"load {name}": _load(name) for name in ("bundle", "device", "context", "threads", "verify", "backend")},
    **{f"load {name}": _load(name) for name in ("progress", "speculative", "scene_bytes")},
    "look": lambda model, value, _: model.look(value),
    "encode": lambda model, value, _: model.encode(value, value),
    "refer": _ask("refer", "phrase", answer="append"),
    "reason": _ask("reason", "sentence", answer="append"),
    "chat": _ask("chat", "question", max_new_tokens=2),
    **{f"refer {name}": _ask("refer", name, phrase="a car") for name in ("answer", "several", "threshold")},
    **{f"reason {name}": _ask("reason", name, sentence="a car") for name in ("answer", "several", "threshold")},
    **{f"categories {name}": _ask("categories", name, answer="append") for name in ("things", "stuff")},
    **{
        f"categories {name}": _ask("categories", name, things=["car"], stuff=["road"])
        for name in ("instances", "semantic", "threshold", "overlap_threshold", "answer")
    },
    **{f"regions {name}": _ask("regions", name, answer="append") for name in ("boxes", "points", "masks")},
    "regions a box": lambda model, value, _: model.look(PIXELS).regions(boxes=[value]),
    "regions a point": lambda model, value, _: model.look(PIXELS).regions(points=[value]),
    "regions a mask": lambda model, value, _: model.look(PIXELS).regions(masks=[value]),
    "regions a side": lambda model, value, _: model.look(PIXELS).regions(boxes=[(*BOX[:3], value)]),
    **{f"regions {name}": _ask("regions", name, boxes=[BOX]) for name in ("similar", "threshold", "answer")},
    **{f"describe {name}": _ask("describe", name) for name in ("max_new_tokens", "threshold")},
    "chat max_new_tokens": _ask("chat", "max_new_tokens", question="What?"),
    "stream": lambda model, value, _: _frames(model, frames=_frame_source(value)),
    "stream a frame": lambda model, value, _: _frames(model, frames=[value]),
    "stream a time": lambda model, value, _: _frames(model, frames=[(value, PIXELS)], clock=lambda: 0.0),
    "stream ask": lambda model, value, _: _frames(model, refer=None, ask=value),
    "stream an answer": lambda model, value, _: _frames(model, refer=None, ask=lambda scene: value),
    **{
        f"stream {name}": lambda model, value, _, name=name: _frames(model, **{name: value})
        for name in ("refer", "deadline", "latest", "overlap", "clock", "reconnect")
    },
    "stream a clock": lambda model, value, _: _frames(model, frames=[(1.0, PIXELS)], clock=lambda: value),
    "overlay": lambda model, value, _: model.look(PIXELS).regions(boxes=[BOX]).overlay(value),
    "overlay alpha": lambda model, value, _: model.look(PIXELS).regions(boxes=[BOX]).overlay(alpha=value),
    "to_coco": lambda model, value, _: model.look(PIXELS).regions(boxes=[BOX]).to_coco(value),
    **{
        f"reconnect {name}": lambda _, value, __, name=name: Reconnect(**{name: value})
        for name in ("attempts", "delay", "growth", "longest", "timeout")
    },
    "folder": lambda _, value, __: Folder(value),
    "folder rate": lambda _, value, __: next(iter(Folder(FOLDER, value))),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_wrong_argument(phi3_bundle: Path, name: str) -> None:
    model, draw = load(phi3_bundle, context=96), random.Random(name)
    messages = []
    for make in draw.sample(POOL, 12):
        value = make()
        if draw.random() < 0.2:
            value = [value] if draw.random() < 0.5 else (value, value)
        try:
            CALLS[name](model, value, phi3_bundle)
        except XSamError as error:
            messages.append(str(error))
    assert messages
    assert all(len(message.splitlines()) == 1 and len(message) < 1500 for message in messages), messages


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.look(PIXELS).refer(None), "phrase is None; expected text, or a list of texts"),
        (lambda m: m.look(PIXELS).categories({"car"}), "things is {'car'}; expected a list of names"),
        (lambda m: m.look(PIXELS).regions(boxes=BOX), r"a box is 10; expected four finite numbers \(x0, y0, x1, y1\)"),
        (lambda m: m.look(PIXELS).regions(boxes=[("1", 2, 3, 4)]), r"a box is \('1', 2, 3, 4\); expected four"),
        (lambda m: m.look(PIXELS).regions(masks="m.png"), "masks is 'm.png'; expected a list of masks"),
        (
            lambda m: m.look(PIXELS).chat("a", max_new_tokens=2.5),
            "max_new_tokens is 2.5; expected a whole number from 1",
        ),
        (lambda m: m.look(PIXELS).refer("a", several="no"), "several is 'no'; expected True or False"),
        (lambda m: m.look(""), "the image is ''; expected the path of one image file"),
        (
            lambda m: m.encode(PIXELS, PIXELS),
            r"pixel_values is an array of uint8 \[100, 150, 3\]; expected an array of f",
        ),
        (lambda m: m.stream("", refer="a"), "an empty address does not exist; give a folder of images"),
        (lambda m: m.stream(None, refer="a"), "frames is None; expected a folder, a video, a bag, what is"),
        (lambda m: m.stream(PIXELS, refer="a"), r"frames is an array of uint8 \[100, 150, 3\]; expected a folder"),
        (lambda m: m.stream(memoryview(b"a"), refer="a"), "frames is of the type memoryview; expected a folder"),
        (
            lambda m: m.stream(1 << 31, refer="a"),
            "the camera's number is 2147483648; expected a whole number from 0 to",
        ),
        (lambda m: m.stream("9" * 5000, refer="a"), "9999 does not exist; give a folder of images"),
        (
            lambda m: m.look(PIXELS).categories("x" * 500),
            "^things must be a list of names, not the text 'xxx.{90,110}$",
        ),
        (lambda m: m.look(PIXELS).refer("x" * 500 + "<SEG>"), "^the phrase 'xxx.{120,150}$"),
        (lambda m: m.stream([], refer=5), "refer is 5; expected text, or a list of texts"),
        (lambda m: m.stream([], refer=[]), "refer has no phrase"),
        (lambda m: m.stream([], refer=" "), "is empty; say what to look for"),
        (lambda m: m.stream([], ask="a"), "ask is 'a'; expected a function"),
        (lambda m: m.stream([], refer="a", deadline="soon"), "deadline is 'soon'; expected milliseconds above 0"),
        (lambda m: _frames(m, frames=[("1", PIXELS)]), "a frame's timestamp is '1'; expected seconds"),
        (lambda m: _frames(m, refer=None, ask=lambda scene: None), "the answer is None; expected the Result that ask"),
    ],
)
def test_what_is_said(phi3_bundle: Path, ask: Callable[[XSam], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(load(phi3_bundle, context=96))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": "4"}, "context is '4'; this model takes 1 to"),
        ({"context": 9.5}, "context is 9.5; this model takes 1 to"),
        ({"context": NAN}, "context is nan; this model takes 1 to"),
        ({"threads": -3}, "threads is -3; expected a whole number from 0 to"),
        ({"threads": "a"}, "threads is 'a'; expected a whole number from 0 to"),
        ({"threads": 4 * (os.cpu_count() or 1) + 1}, f"expected a whole number from 0 to {4 * (os.cpu_count() or 1)}"),
        ({"scene_bytes": 1.5}, "scene_bytes is 1.5; expected a whole number from 0 on"),
        ({"device": None}, "device is None; expected text"),
        ({"verify": "yes"}, "verify is 'yes'; write 'full'"),
        ({"backend": "cuda"}, "backend is 'cuda'; expected a Backend of runtime.backends.base"),
        ({"bundle": ""}, "bundle is ''; expected the folder of a bundle"),
        ({"bundle": 5}, "bundle is 5; expected the folder of a bundle"),
    ],
)
def test_what_is_said_of_loading(phi3_bundle: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        XSam.load(**{"bundle": phi3_bundle, **options})


def test_scalars_of_numpy_are_numbers(phi3_bundle: Path) -> None:
    model = XSam.load(phi3_bundle, context=np.int64(160), threads=np.int32(1), speculative=np.bool_(False))
    scene = model.look(PIXELS)
    boxes = np.array([BOX], np.float32)
    assert same(scene.regions(boxes=boxes, threshold=np.float32(0)), scene.regions(boxes=[BOX], threshold=0))
    assert same(scene.categories(np.array(["car"])), scene.categories(["car"]))
    assert scene.chat("What?", max_new_tokens=np.uint8(2)).text == scene.chat("What?", max_new_tokens=2).text
    (item,) = model.stream([(np.float32(2.5), PIXELS)], refer=np.array(["a car"]), deadline=np.float32(1e6))
    assert item.timestamp == 2.5 and same(item.result, scene.refer("a car"))
    assert scene.refer("a car").to_coco(np.int64(3))[0]["image_id"] == 3


def test_generators_are_lists(phi3_bundle: Path) -> None:
    scene = load(phi3_bundle).look(PIXELS)
    assert len(scene.refer((name for name in ("a car", "a man")), answer="append")) == 2
    assert scene.categories(name for name in ("car", "man")).task == "genseg"
    with pytest.raises(InputError, match="things gives more than 65536 items; expected a list of names"):
        scene.categories(map(str, count()))


def test_an_overlay_takes_what_was_looked_at(phi3_bundle: Path) -> None:
    result = load(phi3_bundle).look(PIXELS).regions(boxes=[BOX])
    for image in (PIXELS, IMAGE, FOLDER / "image.png"):
        np.testing.assert_array_equal(np.asarray(result.overlay(image)), np.asarray(result.overlay()))


class _Odd:
    """An object that objects to being shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not shown")


class _Unruly:
    """An object that looks like a scalar and fails wherever it is used as one."""

    shape: Any = ()
    dtype = "float32"

    def item(self) -> float:
        raise RuntimeError("no item")

    def __index__(self) -> int:
        raise RuntimeError("no index")

    def __fspath__(self) -> Any:
        return 3


class _Shapeless(_Unruly):
    shape = 3


@pytest.mark.parametrize("value", [_Unruly(), _Shapeless()])
def test_an_object_that_fails_is_wrong(value: object) -> None:
    checks: tuple[Callable[[str, object], object], ...] = (arguments.count, arguments.number, arguments.flag)
    for check in checks:
        with pytest.raises(InputError, match=r"^x is "):
            check("x", value)
    with pytest.raises(InputError, match=r"^x is .*; expected a file"):
        arguments.path("x", value, "a file")


def test_numbers_have_64_bits() -> None:
    assert arguments.count("x", (1 << 63) - 1) == (1 << 63) - 1
    for value in (1 << 63, np.uint64(1 << 63), 10**5000):
        with pytest.raises(InputError, match=r"^x is .*; expected a whole number from 0 on"):
            arguments.count("x", value)


def _numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("a\nb", r"'a\nb'"),
        ("x" * 1000, "'" + "x" * 36),
        (10**5000, "a number of more than 64 bits"),
        (np.float32(0.5), "0.5"),
        (np.zeros((3, 4), np.float32), "an array of float32 [3, 4]"),
        (_numbers(), "of the type generator"),
        (_Odd(), "of the type _Odd"),
        ([_Odd()], "[<_Odd instance"),
        ([1] * 1000, "[1, 1, 1, 1, 1, 1, ...]"),
        ([np.zeros((9, 9))], "[array([[0., 0."),
    ],
    ids=[str(number) for number in range(11)],
)
def test_any_value_is_shown_in_a_line(value: object, text: str) -> None:
    shown = arguments.found(value)
    assert shown.startswith(text) and len(shown) < 100 and "\n" not in shown
