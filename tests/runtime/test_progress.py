from xsam_edge.runtime.progress import Step, Tally, silent, within
from xsam_edge.runtime.units import duration, size


def test_a_tally_adds_up() -> None:
    steps: list[Step] = []
    tally = Tally(steps.append, "hash", 10, "bytes")
    for count in (3, 0, 7):
        tally.add(count)
    assert steps == [Step("hash", done, 10, "bytes") for done in (3, 3, 10)]
    Tally(silent, "hash", None, "bytes").add(1)


def test_a_part_is_named_with_its_whole() -> None:
    steps: list[Step] = []
    within(steps.append, "gate")(Step("image encoder", 1, 2, "pictures", "a.png"))
    assert steps == [Step("gate: image encoder", 1, 2, "pictures", "a.png")]


def test_sizes_and_times() -> None:
    assert [size(count) for count in (0, 999, 1000, 12_340_000, 4_560_000_000)] == [
        "0 B", "999 B", "1.0 kB", "12.3 MB", "4.56 GB",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (0.4, 119, 120, 7 * 60, 7500)] == [
        "0 s", "119 s", "2 min", "7 min", "2 h 05 min",
    ]  # fmt: skip
