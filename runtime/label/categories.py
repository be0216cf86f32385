"""Names to label with: lists of users, lists that come with the package, and files of either."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language.prompts import category_text

LISTS = ("coco", "lvis")
"""What ``--everything`` knows by name: COCO's 80 things and 53 kinds of stuff, LVIS's 1,203 things."""

_FOLDER = Path(__file__).with_name("names")
_LINE = re.compile(r"(?:(\d+)\s+)?(thing|stuff)\s+(.+)")


@dataclass(frozen=True)
class Category:
    """A name that segments have; ``id`` is its number in COCO files, from 1 on."""

    name: str
    is_thing: bool
    id: int


def numbered(things: Sequence[str], stuff: Sequence[str] = ()) -> tuple[Category, ...]:
    """Categories with numbers from 1 on, things first.

    Raises:
        InputError: a name that is empty or there twice, also where two are one once the model reads them.
    """
    named = [*((name, True) for name in things), *((name, False) for name in stuff)]
    categories = tuple(Category(name, is_thing, number) for number, (name, is_thing) in enumerate(named, 1))
    check_names([category.name for category in categories])
    return categories


def check_names(names: Iterable[str], where: str = "") -> None:
    """Raise InputError for a name that is empty, or that reads as an earlier one; ``where`` they stand."""
    first: dict[str, str] = {}
    for name in names:
        text = category_text(name.strip()).strip()
        if not text:
            raise InputError(f"a category{where} is empty ({name!r}); give it a name")
        if text in first:
            same = f"{name!r} is there twice" if first[text] == name else f"{first[text]!r} and {name!r} read the same"
            raise InputError(f"of the categories{where} {same}; give each name once")
        first[text] = name


def everything(source: str) -> tuple[Category, ...]:
    """The categories of a list by its name, or of a file.

    A file has a name a line; "stuff" in front of a name makes it stuff, "thing" is understood. Empty lines and those
    that begin with # are left out.

    Raises:
        InputError: no list and no file of this name, or names that cannot be used.
    """
    path = _FOLDER / f"{source}.txt" if source in LISTS else Path(source)
    if path.is_dir():
        raise InputError(
            f"{source} is a folder; --everything takes {' or '.join(LISTS)} or a file of names, and nothing when it "
            "stands last"
        )
    if not path.exists():
        raise InputError(f"{source!r} is no list of names and no file; choose {', '.join(LISTS)} or give a text file")
    categories = []
    for number, line in enumerate(read_lines(path), 1):
        match = _LINE.fullmatch(line)
        name, is_thing = (match[3], match[2] == "thing") if match else (line, True)
        categories.append(Category(name, is_thing, int(match[1]) if match and match[1] else number))
    check_names((category.name for category in categories), f" in {source}")
    # As prompts have them; numbers stay as they are.
    categories.sort(key=lambda category: not category.is_thing)
    if len({category.id for category in categories}) < len(categories):
        raise InputError(f"{source} gives a number twice; number every line or none")
    return tuple(categories)


def things_and_stuff(categories: Iterable[Category]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of both kinds, each in the order of the categories."""
    listed = list(categories)
    things, stuff = (tuple(item.name for item in listed if item.is_thing is kind) for kind in (True, False))
    return things, stuff


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, without empty ones and those that begin with #.

    Raises:
        InputError: another encoding, or no line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 ({error}); save it as UTF-8") from None
    except ValueError as error:  # a path that is none
        raise InputError(f"{str(path)!r} cannot be read ({error}); give a text file") from None
    if "\0" in text:
        raise InputError(f"{path} holds bytes of zero, as UTF-16 has them; save it as UTF-8")
    lines = [line.strip() for line in text.splitlines()]
    if not (lines := [line for line in lines if line and not line.startswith("#")]):
        raise InputError(f"{path} holds no line; write one a name")
    return lines


def nearest(name: str, known: Iterable[str]) -> str:
    """What of the known names a wrong one may have been meant to be, as the end of a message."""
    near = difflib.get_close_matches(name, list(known), 3, 0.6)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "check its spelling"
