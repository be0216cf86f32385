import numpy as np
import pytest

from xsam_edge.benchmarks import inputs, measure
from xsam_edge.benchmarks.measure import Distribution, Sample, alternate
from xsam_edge.benchmarks.report import agreement, iou, overhead
from xsam_edge.benchmarks.watch import Call, Script
from xsam_edge.runtime.errors import InputError


def sample(total: float = 10.0, graphs: float = 6.0, tokens: tuple[int, ...] = (1,), mask=None) -> Sample:
    return Sample(total, 2.0, 1.0, (Call("mask_decoder", graphs, {}),), tokens, mask)


class Recorder:
    """A side that notes who was asked what, in order."""

    def __init__(self, name: str, log: list[tuple[str, str, object]]) -> None:
        self.name, self.log = name, log
        self.setup: dict[str, object] = {}

    def first(self, picture: object, phrase: str) -> Sample:
        self.log.append((self.name, phrase, picture))
        return sample()

    def next(self, phrase: str) -> Sample:
        self.log.append((self.name, phrase, "same"))
        return sample()


def test_percentiles_are_interpolated() -> None:
    found = Distribution.of(list(range(101, 0, -1)))
    assert (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms) == (51, 91, 96, 100)
    assert (found.min_ms, found.max_ms, found.mean_ms, found.n) == (1, 101, 51, 101)
    assert Distribution.of([3.0, 5.0]).p90_ms == pytest.approx(4.8)
    assert Distribution.of([7.0]).to_json()["p99_ms"] == 7
    with pytest.raises(ValueError, match="no time"):
        Distribution.of([])


def test_sides_take_turns_on_new_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SETTLE_SECONDS", 0)
    log: list[tuple[str, str, object]] = []
    sides = [Recorder("a", log), Recorder("b", log)]
    rounds, warming = alternate(sides, lambda index: index, ["x", "y", "z"], repeat=2, warmup=1)
    assert [len(done) for done in rounds] == [2, 2]
    assert all(seconds > 0 for seconds in warming)
    assert [name for name, _, picture in log if picture != "same"] == ["a", "b", "b", "a", "a", "b"]
    assert [picture for _, _, picture in log if picture != "same"] == [0, 0, 1, 1, 2, 2]
    assert [phrase for name, phrase, _ in log if name == "a"] == ["x", "y", "y", "z", "z", "x"]


def test_overhead_is_what_graphs_do_not_take() -> None:
    found = overhead([sample(10, 6), sample(20, 12), sample(100, 50)])
    assert found["outside_graphs_ms"] == 8
    assert found["runtime_ms"] == 5
    assert found["without_postprocess_ms"] == 7
    assert found["outside_graphs_share"] == pytest.approx(0.4)


def test_agreement_of_tokens_and_masks() -> None:
    mask, half = np.ones((2, 2), bool), np.array([[True, True], [False, False]])
    ours = [measure.Round(sample(mask=mask), sample())]
    theirs = [measure.Round(sample(mask=half), sample(tokens=(2,)))]
    found = agreement(ours, theirs)
    assert not found["same_tokens"] and found["answers_with_same_tokens"] == 0.5
    assert found["min_mask_iou"] == 0.5 and found["mean_mask_iou"] == 0.75
    assert agreement(ours, ours)["same_tokens"]
    assert iou(mask, None) == 0 and iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1


def test_a_script_speaks_at_its_places_only() -> None:
    next_ids = np.full(4, 4)
    Script(10, [2, 3]).impose(next_ids, np.array([8, 9, 10, 11]))
    assert next_ids.tolist() == [4, 2, 3, 4]


def test_stages_are_told_from_sizes() -> None:
    sizes = [("llm", 9, 0), ("llm", 1, 0), ("llm", 5, 9), ("llm", 1, 9)]
    calls = [Call(graph, 1.0, {"sequence": sequence, "past": past}) for graph, sequence, past in sizes]
    assert [call.stage for call in calls] == ["llm_prefill", "llm_prefill", "llm_suffix", "llm_decode"]
    assert Call("image_encoder", 1.0, {}).stage == "image_encoder"


def test_parts_of_a_prefill_are_one_run() -> None:
    def run(past: int, sequence: int, rows: int, batch: int = 1) -> Call:
        return Call("llm", 2.0, {"batch": batch, "sequence": sequence, "past": past, "rows": rows})

    whole = run(0, 4, 0).joined(run(4, 5, 2))
    assert whole == Call("llm", 4.0, {"batch": 1, "sequence": 9, "past": 0, "rows": 2}) and whole.stage == "llm_prefill"
    assert run(0, 4, 1).joined(run(4, 1, 1)) is None  # decoding
    assert run(0, 4, 0).joined(run(2, 5, 2)) is None  # another prompt on the same image
    assert run(0, 4, 0).joined(run(4, 5, 2, batch=3)) is None
    assert run(0, 4, 0).joined(Call("mask_decoder", 1.0, {"conditions": 1})) is None


def test_no_two_rounds_see_the_same_picture(tmp_path) -> None:
    picture, described = inputs.pictures()
    seen = {picture(index).tobytes() for index in (0, 1, 8, 16, 264)}
    assert len(seen) == 5 and picture(0).shape == (480, 640, 3)
    assert "640 x 480" in described
    from PIL import Image

    Image.new("L", (1, 3), 7).save(tmp_path / "tiny.png")
    small, described = inputs.pictures(tmp_path / "tiny.png")
    assert small(0).shape == (3, 1, 3) and len({small(index).tobytes() for index in range(9)}) == 9
    assert "1 x 3" in described


def test_phrases_from_texts_and_files(tmp_path) -> None:
    file = tmp_path / "phrases.txt"
    file.write_text("a cup\n\n  the man ironing \n")
    assert inputs.phrases(["the star", str(file), "a" * 5000]) == ["the star", "a cup", "the man ironing", "a" * 5000]
    assert len(inputs.phrases(None)) > 1
    file.write_text("\n")
    with pytest.raises(InputError, match="holds no phrase"):
        inputs.phrases([str(file)])
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        inputs.phrases([str(file)])
