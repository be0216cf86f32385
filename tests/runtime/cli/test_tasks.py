from pathlib import Path
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
        (
            ["--refer", "a man", "--refer", "a cup"],
            ("refer", (("a man", "a cup"),), {"several": False, "answer": "greedy"}),
        ),
        (
            ["--reason", "why?", "--reason", "who?"],
            ("reason", (("why?", "who?"),), {"several": False, "answer": "greedy"}),
        ),
        (["--things", "cat, dog"], ("categories", (["cat", "dog"], []), {"answer": "greedy"})),
        (
            ["--things", "cat", "--stuff", "sky", "--things", "dog,cow", "--stuff", "sea"],
            ("categories", (["cat", "dog", "cow"], ["sky", "sea"]), {"answer": "greedy"}),
        ),
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
        (["--chat", "what?"], [("chat", ("what?",), {})]),
        (["--chat", "what?", "--chat", "who?"], [("chat", ("what?",), {}), ("chat", ("who?",), {})]),
    ],
)
def test_calls(arguments: list[str], call: tuple[Any, ...]) -> None:
    assert asked(*arguments) == call


def test_names_of_a_file_may_have_commas(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\ufefftraffic light, red\n\n  cup \n", encoding="utf-8")
    _, (things, stuff), _ = asked("--things", f"@{names}", "--things", "cat,dog", "--stuff", f"@{names}")
    assert things == ["traffic light, red", "cup", "cat", "dog"] and stuff == ["traffic light, red", "cup"]
    names.write_text("\n")
    with pytest.raises(InputError, match="holds no name; write one a line"):
        asked("--things", f"@{names}")
    names.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="give a text file in UTF-8"):
        asked("--things", f"@{names}")


def test_an_id_of_a_mask(tmp_path: Path) -> None:
    (tmp_path / "ids.png").touch()
    (tmp_path / "12:30").touch()
    names = ("ids.png", "ids.png:3", "12:30", "none:x")
    _, _, options = asked(*[part for name in names for part in ("--mask", str(tmp_path / name))])
    assert options["masks"] == [
        tmp_path / "ids.png",
        (tmp_path / "ids.png", 3),
        tmp_path / "12:30",
        tmp_path / "none:x",
    ]


def test_texts_are_told_apart() -> None:
    options = segment.parser().parse_args(["bundle", "image", "--refer", "a", "--refer", "b"])
    assert question(options).texts == ("a", "b")
    assert question(segment.parser().parse_args(["bundle", "image", "--describe"])).texts == (None,)


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
        (["--refer", "a", "--refer", " "], "--refer is empty"),
        (["--chat", "a", "--output", "out"], "--output does not apply to chat"),
        (["--chat", "a", "--overwrite"], "--overwrite does not apply to chat"),
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
