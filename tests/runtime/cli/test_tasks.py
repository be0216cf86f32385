from typing import Any

import pytest

from xsam_edge.runtime.cli import segment
from xsam_edge.runtime.cli.tasks import question
from xsam_edge.runtime.errors import InputError


class Recorder:
    """A scene that remembers what it was asked."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: (name, args, options)


def asked(*arguments: str) -> Any:
    return question(segment.parser().parse_args(["bundle", "image", *arguments])).ask(Recorder())


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["--refer", "a man"], ("refer", ("a man",), {"several": False, "answer": "greedy"})),
        (
            ["--reason", "why?", "--several", "--threshold", "0.4", "--append-answer"],
            ("reason", ("why?",), {"several": True, "threshold": 0.4, "answer": "append"}),
        ),
        (["--things", "cat, dog"], ("categories", (["cat", "dog"], []), {"answer": "greedy"})),
        (
            ["--stuff", "sky", "--things", "cat", "--semantic"],
            ("categories", (["cat"], ["sky"]), {"answer": "greedy", "instances": False, "semantic": True}),
        ),
        (
            ["--things", "cat", "--panoptic"],
            ("categories", (["cat"], []), {"answer": "greedy", "instances": False, "semantic": False}),
        ),
        (
            ["--box", "1,2,3.5,4", "--point", "5,6", "--box=-1,0,9,9", "--similar"],
            (
                "regions",
                (),
                {
                    "boxes": [[1, 2, 3.5, 4], [-1, 0, 9, 9]],
                    "points": [[5, 6]],
                    "masks": [],
                    "similar": True,
                    "answer": "greedy",
                },
            ),
        ),
        (
            ["--refer", "a man", "--threshold", "official"],
            ("refer", ("a man",), {"several": False, "threshold": "official", "answer": "greedy"}),
        ),
        (["--stuff", "sky", "--threshold", "0"], ("categories", ([], ["sky"]), {"threshold": 0.0, "answer": "greedy"})),
        (["--describe", "--max-new-tokens", "7"], ("describe", (), {"max_new_tokens": 7})),
        (["--describe", "--threshold", "0.7"], ("describe", (), {"threshold": 0.7})),
        (["--chat", "what?"], ("chat", ("what?",), {})),
    ],
)
def test_calls(arguments: list[str], call: tuple[Any, ...]) -> None:
    assert asked(*arguments) == call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no task was given; choose one of --refer"),
        (["--refer", "a", "--chat", "b"], "refer and chat were given together"),
        (["--box", "1,2,3,4", "--describe"], "regions and describe were given together"),
        (["--refer", " "], "--refer is empty"),
        (["--things", "a,,b"], "--things 'a,,b' has an empty name"),
        (["--box", "1,2,3"], "--box '1,2,3' is not 4 numbers"),
        (["--point", "1,nan"], "--point '1,nan' is not 2 numbers"),
        (["--refer", "a", "--semantic"], "--semantic does not apply to refer"),
        (["--chat", "a", "--append-answer"], "--append-answer does not apply to chat"),
        (["--refer", "a", "--max-new-tokens", "3"], "--max-new-tokens does not apply to refer"),
        (["--describe", "--max-new-tokens", "0"], "it must be at least 1"),
        (["--chat", "a", "--threshold", "0.5"], "--threshold does not apply to chat"),
        (
            ["--refer", "a", "--threshold", "often"],
            "--threshold is 'often'; expected a number from 0 to 1, or 'official'",
        ),
        (["--describe", "--threshold", "-1"], "expected a number from 0 to 1"),
        (["--things", "a", "--threshold", "1.5"], "expected a number from 0 to 1"),
        (["--things", "a", "--threshold", "nan"], "expected a number from 0 to 1"),
    ],
)
def test_refusals(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        asked(*arguments)
