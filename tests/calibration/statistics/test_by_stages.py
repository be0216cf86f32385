from functools import partial
from pathlib import Path

import pytest

from tests.calibration.statistics.test_collect import assert_equal, data, picture, products
from xsam_edge.calibration.data.samples import Caption, Picture
from xsam_edge.calibration.staged import run as staged
from xsam_edge.calibration.statistics import by_stages, collect
from xsam_edge.calibration.statistics.collect import Statistics
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress, Step, silent

HEAD = "llm.onnx:/llm/Gather_1_output_0"


class StopError(Exception):
    pass


def treat_as_large(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staged, "WHOLE_BYTES", 0)
    patch.setattr(by_stages, "PICTURES", 2)
    patch.setattr(by_stages, "StagedRun", partial(staged.StagedRun, part_bytes=1))


@pytest.fixture
def by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models are treated as large ones."""
    treat_as_large(monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted(phi3_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Statistics:
    """Of the three pictures, by stages; read only."""
    with pytest.MonkeyPatch.context() as patch:
        treat_as_large(patch)
        return gather(phi3_bundle, tmp_path_factory.mktemp("uninterrupted"), pictures())


def gather(bundle: Path, cache: Path, pictures: list[Picture], progress: Progress = silent) -> Statistics:
    return collect.collect(bundle, data(pictures), products, cache, answer="append", threads=1, progress=progress)


def pictures() -> list[Picture]:
    return [picture(number) for number in range(3)]


def test_statistics_are_those_of_the_whole_chain(
    phi3_bundle: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = gather(phi3_bundle, tmp_path / "whole", pictures())
    request.getfixturevalue("by_parts")
    found = gather(phi3_bundle, tmp_path / "parts", pictures())
    assert not whole.tensors[HEAD].reached
    assert found.tensors[HEAD].size == 3 * (by_stages.ANSWER_ROWS + 1), "the rows of the answers"
    for statistics in (whole, found):
        del statistics.tensors[HEAD]  # type: ignore[attr-defined]
    assert_equal(whole, found)
    assert [path.suffix for path in (tmp_path / "parts").iterdir()] == [".npz"]


def test_a_caption_is_not_decoded(phi3_bundle: Path, tmp_path: Path, by_parts: None) -> None:
    steps: list[Step] = []
    gather(phi3_bundle, tmp_path, [picture(0, asks=[Caption("", (), ())])], steps.append)
    assert {step.total for step in steps if "language model" in step.what} == {1}, "one run, of the prompt"


@pytest.mark.parametrize("stop", [1, 2, 4, 9, 13, 18])
def test_an_interrupted_run_goes_on_bit_for_bit(
    phi3_bundle: Path, uninterrupted: Statistics, tmp_path: Path, by_parts: None, stop: int
) -> None:
    told: list[Step] = []

    def interrupt(step: Step) -> None:
        told.extend([] if step.note else [step])
        if len(told) == stop:
            raise StopError

    with pytest.raises(StopError):
        gather(phi3_bundle, tmp_path / "cut", pictures(), interrupt)
    rest: list[Step] = []
    again = gather(phi3_bundle, tmp_path / "cut", pictures(), rest.append)
    assert_equal(uninterrupted, again)
    assert rest[0].note and "pictures will take about" in rest[0].what
    assert rest[1].what == told[-1].what and rest[1].detail == told[-1].detail, "at the start of the same stage"


def test_what_waited_may_be_lost(phi3_bundle: Path, uninterrupted: Statistics, tmp_path: Path, by_parts: None) -> None:
    def interrupt(step: Step) -> None:
        if "part 3" in step.what:
            raise StopError

    with pytest.raises(StopError):
        gather(phi3_bundle, tmp_path / "cut", pictures(), interrupt)
    (waiting,) = (tmp_path / "cut").glob("*.stages")
    for path in waiting.iterdir():
        path.unlink()
    assert_equal(uninterrupted, gather(phi3_bundle, tmp_path / "cut", pictures()))


def test_unreadable_images_are_left_out_once(
    phi3_bundle: Path, tmp_path: Path, by_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="1 of 3 images for calibration cannot be read, such as picture 1"):
        gather(phi3_bundle, tmp_path, [picture(0), picture(1, broken=True), picture(2)])
    monkeypatch.setattr(collect, "MAX_UNREADABLE", 0.5)
    found = gather(phi3_bundle, tmp_path, [picture(0), picture(1, broken=True), picture(2)])
    assert found.unreadable == ("picture 1",) and found.pictures == 2
