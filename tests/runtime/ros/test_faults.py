from __future__ import annotations

from xsam_edge.runtime.ros.faults import Fault, Faults


def test_thirty_a_second_are_one_line() -> None:
    lines: list[Fault] = []
    faults = Faults(lines.append)
    for number in range(300):
        faults.tell(number / 30, "image", f"the encoding 'x{number}' is unknown", lasts=5)
    assert lines == [Fault("image", "the encoding 'x0' is unknown")]
    assert faults.now(10.0) == (Fault("image", "the encoding 'x299' is unknown"),)
    faults.tell(30.0, "image", "still")
    assert len(lines) == 2, "as a reminder"


def test_each_kind_has_its_own_line_and_errors_come_first() -> None:
    lines: list[Fault] = []
    faults = Faults(lines.append)
    faults.tell(0, "topic", "is another one", error=False)
    faults.tell(0, "prompt", "is empty")
    assert len(lines) == 2
    assert [fault.kind for fault in faults.now(0)] == ["prompt", "topic"]


def test_what_lasts_is_forgotten_but_not_told_again_at_once() -> None:
    lines: list[Fault] = []
    faults = Faults(lines.append)
    faults.tell(0, "image", "broken", lasts=5)
    assert faults.now(5.0) and not faults.now(5.1)
    faults.tell(6, "image", "broken", lasts=5)
    assert faults.now(6.0) and len(lines) == 1


def test_what_is_over_and_comes_again_is_new() -> None:
    lines: list[Fault] = []
    faults = Faults(lines.append)
    faults.tell(0, "model", "no memory")
    faults.over("model")
    assert faults.now(0) == ()
    faults.over("model")
    faults.tell(1, "model", "no memory")
    assert len(lines) == 2


def test_what_a_user_did_is_told_each_time() -> None:
    lines: list[Fault] = []
    faults = Faults(lines.append)
    for text in ("one", "two"):
        faults.tell(0, "prompt", text, quiet=0)
    assert [fault.message for fault in lines] == ["one", "two"]


def test_a_message_is_one_line_and_ends() -> None:
    lines: list[Fault] = []
    Faults(lines.append).tell(0, "image", "a\nb " + "c" * 5000)
    assert lines[0].message.startswith("a b c") and len(lines[0].message) == 1003
