import pytest

from xsam_edge.benchmarks.gpu_check.goals import goals
from xsam_edge.benchmarks.gpu_check.records import Record
from xsam_edge.benchmarks.gpu_check.report import markdown, terminal
from xsam_edge.benchmarks.gpu_check.stages import GPU_MEMORY, stage
from xsam_edge.benchmarks.watch import STAGES

FAST = {"first answer": 50.0, "next prompt": 6.0, "decode step": 3.5, **{stage(name): 2.0 for name in STAGES}}


def records(step: str = "full-cuda", **changes: float) -> list[Record]:
    """Of a fast dialect on a GPU, and of torch, which takes three times as long."""
    found = {**FAST, **{name.replace("_", " "): value for name, value in changes.items()}, GPU_MEMORY: 12.0}
    ours = [Record(step, name, value, "ms") for name, value in found.items()]
    eager = [Record("torch", f"eager: {name}", 3 * value, "ms") for name, value in FAST.items()]
    compiled = [Record("torch-compile", f"compiled: {name}", 2 * value, "ms") for name, value in FAST.items()]
    return [*ours, *eager, *compiled]


def verdicts(found: list[Record]) -> list[str]:
    return [goal.verdict for goal in goals(found)]


def test_a_fast_model_meets_them() -> None:
    assert verdicts(records()) == ["met"] * 5
    assert goals(records())[3].found == "3 times as fast at least, full-cuda"


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        ({"first_answer": 61.0}, 0, "61 ms, full-cuda"),
        ({"next_prompt": 10.5}, 1, "10.5 ms, full-cuda"),
        ({"decode_step": 4.1}, 2, "4.1 ms, full-cuda"),
        ({"next_prompt": 13.0}, 4, "behind: next prompt 13 against 12 ms"),
    ],
)
def test_what_is_too_slow_is_named(change: dict[str, float], place: int, said: str) -> None:
    goal = goals(records(**change))[place]
    assert goal.verdict == "not met" and goal.found == said


def test_a_stage_that_loses_is_named() -> None:
    slow = [
        Record("full-cuda", stage("llm_suffix"), 7.0, "ms")
        if r.name == stage("llm_suffix") and r.step == "full-cuda"
        else r
        for r in records()
    ]
    goal = goals(slow)[3]
    assert goal.met is False and goal.found == "behind: stage llm_suffix 7 against 6 ms"


def test_the_faster_dialect_is_judged() -> None:
    both = [*records(first_answer=70.0), *records("full-gpu")]
    assert goals(both)[0].found == "50 ms, full-gpu" and goals(both)[0].met


def test_what_was_not_measured_is_not_judged() -> None:
    assert verdicts([]) == ["not measured"] * 5
    of_a_cpu = [record for record in records() if record.name != GPU_MEMORY]
    assert verdicts(of_a_cpu) == ["not measured"] * 5
    part = [record for record in records() if record.name != f"eager: {stage('llm_decode')}"]
    assert goals(part)[3].met is None and goals(part)[3].found.endswith("not measured: stage llm_decode")


def test_answers_are_those_of_a_cpu() -> None:
    def of(equal: bool, overlap: float, device: str = "cuda") -> list[Record]:
        texts, masks = (
            Record("ort", "a: texts equal", equal, note="6 of 6"),
            Record("ort", "a: least mask IoU", overlap),
        )
        return [Record("ort", "device", device), texts, masks]

    assert [goals(of(*case))[5].met for case in ((True, 0.99), (False, 0.99), (True, 0.9))] == [True, False, False]
    assert len(goals(of(True, 1.0, "cpu"))) == 5, "a CPU agrees with itself"


def test_a_page_and_a_table_have_everything() -> None:
    facts = [Record("facts", "card: name", "NVIDIA H100"), Record("facts", "version of torch", "2.11.0")]
    outcomes = [
        Record("torch", "outcome", "done"),
        Record("torch", "took", 12.0, "s"),
        Record("ort", "outcome", "failed", note="a | b"),
    ]
    found = [*records(), *outcomes, *facts]
    page, table = markdown(found), terminal(found)
    assert "Measured on NVIDIA H100, torch 2.11.0." in page
    assert "| ort | the demo model on ONNX Runtime, against a CPU | failed (a \\| b) |" in page
    assert "| first answer within 60 ms (H100, FP16, Phi-3 size) | met | 50 ms, full-cuda |" in page
    assert page.index("## facts") < page.index("## torch") < page.index("## full-cuda")
    assert "torch: done, 12.0 s" in table and "ort: failed (a | b)" in table
    for text in (page, table):
        assert "eager: first answer" in text and "150 ms" in text and "not met" not in text
    assert "Measured on no GPU that is known of, torch 2.11.0." in markdown([*records(), facts[1]])
    assert "It is not known what this was measured on." in markdown(records())
