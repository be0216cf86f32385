from xsam_edge.benchmarks.gpu_check import facts
from xsam_edge.runtime.doctor.host import Host


class Card(Host):
    """A machine whose nvidia-smi answers."""

    def __init__(self, answer: str | None) -> None:
        super().__init__()
        self.answer = answer

    def output(self, *command: str) -> str | None:
        assert command[0] == "nvidia-smi" and len(command[1].split(",")) == 9
        return self.answer


def test_the_first_card_is_told() -> None:
    line = "NVIDIA H100, 580.1, 81559 MiB, 3 MiB, 345 MHz, 1980 MHz, 2619 MHz, 700.00 W, P0"
    told = dict(facts.card(Card(f"{line}\n{line.replace('H100', 'H200')}\n")))
    assert told["card: name"] == "NVIDIA H100" and told["card: clocks.max.sm"] == "1980 MHz" and len(told) == 9


def test_without_one_nothing_is_told() -> None:
    assert not list(facts.card(Card(None))) and not list(facts.card(Card("No devices were found\n")))
