"""A model that many threads use at once, which change places every 10 microseconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.recorded import DATA
from tests.runtime.test_scene import QUESTIONS
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.iou import mask_iou
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

FOLDER = DATA / "golden-phi3"
Ask = Callable[[Scene], Result]
ASKS: dict[str, Ask] = {
    **QUESTIONS,
    "append": lambda scene: scene.refer("a car", answer="append"),
    "batch": lambda scene: scene.refer(["a car", "the long way home", "a dog"])[1],
    "describe": lambda scene: scene.describe(max_new_tokens=12),
    "chat": lambda scene: scene.chat("What is in the picture?", max_new_tokens=6),
}

pytestmark = pytest.mark.usefixtures("quick_switches")


def alike(a: Result, b: Result) -> bool:
    """Equal but for rounding, which what was asked before decides: it may turn a pixel or two of these weights."""
    if (a.task, a.prompt, a.text, a.labels) != (b.task, b.prompt, b.text, b.labels):
        return False
    masks = all(mask_iou(x.mask, y.mask) > 0.999 for x, y in zip(a.segments, b.segments, strict=True))
    maps = True if a.id_map is None else np.count_nonzero(a.id_map != b.id_map) <= 2
    return masks and maps and np.allclose(a.scores, b.scores, atol=1e-4)


def together(works: Iterable[Callable[[], Any]]) -> None:
    """Run each in a thread of its own, begun at once; the first error is raised here."""
    works, errors = list(works), []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> None:
        try:
            start.wait(30)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread waits without end"
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    pixels = np.asarray(Image.open(FOLDER / "image.png").convert("RGB"))
    return [pixels, pixels[::-1].copy(), pixels[:, ::-1, ::-1].copy()]


@pytest.fixture(scope="module")
def expected(phi3_bundle: Path, images: list[np.ndarray]) -> dict[tuple[int, str], Result]:
    """What one thread is told, by image and question."""
    model = XSam.load(phi3_bundle, threads=1, verify="none")
    found = {}
    for number, image in enumerate(images):
        with model.look(image) as scene:
            found |= {(number, name): ask(scene) for name, ask in ASKS.items()}
    return found


@pytest.mark.parametrize("scene_bytes", [0, 1 << 30], ids=["memory for one scene", "memory for all"])
def test_every_question_from_several_threads(
    phi3_bundle: Path, images: list[np.ndarray], expected: dict[tuple[int, str], Result], scene_bytes: int
) -> None:
    """Scenes that threads share, in an order of each thread's own."""
    model = XSam.load(phi3_bundle, threads=1, verify="none", scene_bytes=scene_bytes)
    scenes = [model.look(image) for image in images]
    wrong: list[tuple[int, str]] = []
    answered = []

    def work(seed: int) -> None:
        keys = list(expected)
        for index in np.random.default_rng(seed).permutation(len(keys)):
            number, name = keys[index]
            if not alike(ASKS[name](scenes[number]), expected[number, name]):
                wrong.append((number, name))
            answered.append(index)

    together([lambda seed=seed: work(seed) for seed in range(4)])
    assert wrong == []
    assert len(answered) == 4 * len(expected)


@pytest.mark.parametrize("scene_bytes", [0, 1 << 30], ids=["memory for one scene", "memory for all"])
def test_scenes_open_and_close_in_several_threads(
    phi3_bundle: Path, images: list[np.ndarray], expected: dict[tuple[int, str], Result], scene_bytes: int
) -> None:
    model = XSam.load(phi3_bundle, threads=1, verify="none", scene_bytes=scene_bytes)
    wrong: list[tuple[int, str]] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(6):
            number = int(rng.integers(len(images)))
            with model.look(images[number]) as scene:
                for name in rng.choice(["refer", "append", "panoptic", "box", "batch"], 2):
                    if not alike(ASKS[name](scene), expected[number, name]):
                        wrong.append((number, str(name)))
                if rng.random() < 0.3:  # one that nobody closes
                    model.look(images[number]).refer("a car", answer="append")

    together([lambda seed=seed: work(seed) for seed in range(5)])
    assert wrong == []


def test_questions_are_answered_in_the_order_in_which_they_came(phi3_bundle: Path, images: list[np.ndarray]) -> None:
    model = XSam.load(phi3_bundle, threads=1, verify="none")
    scenes = [model.look(image) for image in images]
    order: list[int] = []
    turn = model.pipeline._turn

    def ask(number: int) -> None:
        scenes[number % 3].refer("a car", answer="append")

    generate = model.language.generate
    numbers: dict[int, int] = {}

    def noting(*arguments: Any, **options: Any) -> Any:
        order.append(numbers[threading.get_ident()])
        return generate(*arguments, **options)

    model.language.generate = noting  # type: ignore[method-assign]

    def life(number: int) -> None:
        numbers[threading.get_ident()] = number
        ask(number)

    threads = [threading.Thread(target=life, args=(number,)) for number in range(8)]
    with turn:
        for number, thread in enumerate(threads):
            thread.start()
            end = time.monotonic() + 10
            while turn.waiting <= number:
                assert time.monotonic() < end
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_a_question_that_came_before_the_scene_was_closed_is_answered(
    phi3_bundle: Path, images: list[np.ndarray], expected: dict[tuple[int, str], Result]
) -> None:
    model = XSam.load(phi3_bundle, threads=1, verify="none")
    scene, results = model.look(images[0]), []
    thread = threading.Thread(target=lambda: results.append(scene.refer("a car")))
    with model.pipeline.turn():
        thread.start()
        while not model.pipeline._turn.waiting:
            time.sleep(0.001)
        scene.close()
        with pytest.raises(InputError, match="this scene was closed"):
            scene.refer("a car")
        assert scene.feature_bytes()
    thread.join()
    assert alike(results[0], expected[0, "refer"])
    assert not scene.feature_bytes(), "nobody wants the features any more"


def test_looking_and_closing_do_not_wait_for_an_answer(phi3_bundle: Path, images: list[np.ndarray]) -> None:
    model = XSam.load(phi3_bundle, threads=1, verify="none", scene_bytes=0)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with model.pipeline.turn():
            held.set()
            assert done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        with model.look(images[0]), model.look(images[1]):
            pass
    finally:
        done.set()
        thread.join()


def test_a_stream_beside_questions(
    phi3_bundle: Path, images: list[np.ndarray], expected: dict[tuple[int, str], Result]
) -> None:
    model = XSam.load(phi3_bundle, threads=1, verify="none")
    wrong: list[Any] = []

    def watch(overlap: bool) -> None:
        seen = list(model.stream(images * 2, refer="a car", overlap=overlap))
        wrong.extend(item for item in seen if not alike(item.result, expected[item.index % 3, "refer"]))
        assert len(seen) == 6

    def ask(number: int) -> None:
        with model.look(images[number]) as scene:
            for name in ("panoptic", "refer", "similar"):
                if not alike(ASKS[name](scene), expected[number, name]):
                    wrong.append((number, name))

    together([lambda: watch(True), lambda: watch(False), lambda: ask(0), lambda: ask(1), lambda: ask(2)])
    assert wrong == []


def test_two_models_work_in_parallel(
    phi3_bundle: Path, images: list[np.ndarray], expected: dict[tuple[int, str], Result]
) -> None:
    """Loaded at once, asked at once; a question to one does not wait for the other's."""
    wrong: list[Any] = []
    both = threading.Barrier(2)

    def work() -> None:
        model = XSam.load(phi3_bundle, threads=1, verify="none")
        with model.look(images[0]) as scene:
            for name, ask in ASKS.items():
                if not alike(ask(scene), expected[0, name]):
                    wrong.append(name)
            with model.pipeline.turn():
                both.wait(30)  # passes if both have their turn at a time

    together([work, work])
    assert wrong == []
