from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime.loaded import load
from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.label.asks import Ask
from xsam_edge.runtime.label.labeller import Job, Labeller, Options
from xsam_edge.runtime.model import XSam

CATEGORIES = Ask(("person", "car"), ("road", "sky"))
PHRASES = Ask(phrases=("a car", "the ironing man"))


@pytest.fixture
def model(phi3_bundle: Path) -> XSam:
    return load(phi3_bundle)


@pytest.fixture
def jobs(tmp_path: Path, phi3_reference: Path) -> list[Job]:
    image = Image.open(phi3_reference / "image.png").convert("RGB")
    for number in range(4):
        image.rotate(90 * number, expand=True).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    asks = (CATEGORIES, PHRASES, CATEGORIES, CATEGORIES)
    return [Job(number, f"{number}.png", tmp_path / f"{number}.png", ask) for number, ask in enumerate(asks)]


def test_a_record_does_not_depend_on_what_came_before(model: XSam, jobs: list[Job]) -> None:
    labeller = Labeller(model, Options(threshold=0.1))
    records = list(labeller.records(jobs))
    assert [record["picture"] for record in records] == ["0.png", "1.png", "2.png", "3.png"]
    assert "is not an image" in records[2]["error"]
    assert [labeller.record(job) for job in reversed(jobs)] == records[::-1]
    assert {item["label"] for item in records[1]["segments"]} <= set(PHRASES.phrases)


def test_records_are_what_a_scene_answers(model: XSam, jobs: list[Job]) -> None:
    for options, arguments in (
        (Options(threshold=0.1), {"threshold": 0.1}),
        (Options(threshold=0.1, instances=True), {"threshold": 0.1, "instances": True}),
    ):
        record = Labeller(model, options).record(jobs[0])
        with model.look(jobs[0].path) as scene:
            wanted = scene.categories(CATEGORIES.things, CATEGORIES.stuff, **arguments)  # type: ignore[arg-type]
        assert [item["label"] for item in record["segments"]] == [item.label for item in wanted.segments if item.area]
        assert record["size"] == list(wanted.image_size)


def test_what_cannot_be_asked_is_an_error_of_the_run(model: XSam) -> None:
    labeller = Labeller(model, Options())
    for ask in (Ask(things=("<SEG>",)), Ask(phrases=("a </p>",))):
        with pytest.raises(InputError, match="controls the model"):
            labeller.parts(ask)
    assert labeller.parts(PHRASES) == []
    assert len(labeller.parts(CATEGORIES)) == 1


def test_a_model_that_fails_ends_the_run(model: XSam, jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(*_: object) -> None:
        raise BackendError("not finite")

    monkeypatch.setattr(model.pipeline, "decode_mask_batch", overflow)
    with pytest.raises(BackendError):
        list(Labeller(model, Options()).records(jobs[:1]))


def test_a_picture_that_is_too_large_for_memory_is_left_out(
    model: XSam, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(model.pipeline, "encode_image", exhausted)
    (record,) = Labeller(model, Options()).records(jobs[:1])
    assert record == {"picture": "0.png", "error": "not enough memory for this picture"}


def test_options_that_were_not_chosen_are_left_out() -> None:
    assert Options().to_json() == {}
    assert Options(0.0, True, False).to_json() == {"threshold": 0.0, "several": True, "instances": False}
