"""What the documents say can be done: links lead somewhere, command lines are understood, programs run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from xsam_edge.benchmarks import cli as bench
from xsam_edge.calibration.cli import evaluate, verify
from xsam_edge.calibration.shapes import __main__ as shapes
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.calibration.shapes.scene import make_scene
from xsam_edge.export import cli as export
from xsam_edge.runtime.cli import doctor, segment

ROOT = Path(__file__).parents[1]
PACKAGES = ("runtime", "calibration", "export", "benchmarks")
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted(path for package in PACKAGES for path in (ROOT / package).rglob("README.md"))
PARSERS: dict[str, Callable[[], object]] = {
    "xsam-export": export.parser,
    "xsam-segment": segment.parser,
    "xsam-doctor": doctor.parser,
    "xsam-eval": evaluate.parser,
    "xsam-verify": verify.parser,
    "xsam-bench": bench.parser,
    "python -m xsam_edge.calibration.shapes": shapes.parser,
}
_FENCED = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def anchors(path: Path) -> set[str]:
    """Of headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in _FENCED.findall(path.read_text()) if kind == language]


def command_lines() -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        for line in "".join(blocks(path, "bash")).splitlines():
            command = line.strip().removeprefix(".venv/bin/")
            for program in PARSERS:
                if command.startswith(program):
                    yield program, command.removeprefix(program)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", path.read_text())):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(("program", "arguments"), list(command_lines()))
def test_command_lines_are_understood(program: str, arguments: str) -> None:
    PARSERS[program]().parse_args(shlex.split(arguments, comments=True))


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "python")], ids=name)
def test_programs_run(path: Path, shapes_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shapes-fp32").symlink_to(shapes_bundle)
    Path("scenes").mkdir()
    Image.fromarray(draw(make_scene(83), 480).pixels).save("scenes/00000083.png")
    exec("\n".join(blocks(path, "python")), {})
    assert Path("out.png").is_file()


def test_the_main_page_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 178
    assert len(text.split()) <= 1700
