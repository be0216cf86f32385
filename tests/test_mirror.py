"""Test files stand where their subject does, and are named after it.

``tests/<package>/<room>/test_<module>.py`` is of ``<package>/<room>/<module>.py``, ``test_<module>_<aspect>.py`` of one
side of it. What is of a whole folder is named after the folder, ``test_<room>.py`` or ``test_<room>_<aspect>.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# Files that are named after nothing in the tree, each with a reason.
EXCEPTIONS: dict[str, str] = {}


def files() -> Iterator[Path]:
    """Test files of the packages, relative to ``tests``; those directly in ``tests`` are of the whole tree."""
    for path in TESTS.rglob("test_*.py"):
        if path.parent != TESTS and str(path.relative_to(TESTS)) not in EXCEPTIONS:
            yield path.relative_to(TESTS)


def subjects(file: Path) -> Iterator[str]:
    """What the name of a test file may be of: for ``test_a_b.py`` ``a_b``, and ``a`` with the aspect ``b``."""
    words = file.stem.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        yield "_".join(words[:count])


def has_subject(file: Path) -> bool:
    folder = ROOT / file.parent
    return not set(subjects(file)).isdisjoint({folder.name, *(path.stem for path in folder.glob("*.py"))})


def test_every_test_file_has_a_subject() -> None:
    assert [str(file) for file in sorted(files()) if not has_subject(file)] == []


def test_exceptions_are_files() -> None:
    assert [name for name in EXCEPTIONS if not (TESTS / name).is_file()] == []
