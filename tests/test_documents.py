"""What the documents say can be done: links and names lead somewhere, command lines are understood, programs run."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
import torch
from PIL import Image

from xsam_edge.benchmarks import cli as bench
from xsam_edge.benchmarks import serve_load, verification
from xsam_edge.benchmarks.gpu_check import __main__ as gpu_check
from xsam_edge.calibration.cli import evaluate, verify
from xsam_edge.calibration.shapes import __main__ as shapes
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.calibration.tracking import __main__ as tracking
from xsam_edge.export import cli as export
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.models.llm import CausalLM
from xsam_edge.runtime.cli import doctor, label, node, segment
from xsam_edge.runtime.serve import cli as serve

ROOT = Path(__file__).parents[1]
PACKAGES = ("runtime", "calibration", "export", "benchmarks")
READMES = [ROOT / "README.md", *sorted(path for package in PACKAGES for path in (ROOT / package).rglob("README.md"))]
DOCUMENTS = [*READMES, ROOT / "examples" / "ros2" / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PARSERS: dict[str, Callable[[], object]] = {
    "xsam-export": export.parser,
    "xsam-segment": segment.parser,
    "xsam-serve": serve.parser,
    "xsam-label": label.parser,
    "xsam-doctor": doctor.parser,
    "xsam-node": node.parser,
    "xsam-eval": evaluate.parser,
    "xsam-verify": verify.parser,
    "xsam-bench": bench.parser,
    "python -m xsam_edge.benchmarks.gpu_check": gpu_check.parser,
    "python -m xsam_edge.benchmarks.serve_load": serve_load.parser,
    "python -m xsam_edge.benchmarks.verification": verification.parser,
    "python -m xsam_edge.calibration.shapes": shapes.parser,
    "python -m xsam_edge.calibration.tracking": tracking.parser,
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
    return [dedent(body) for kind, body in _FENCED.findall(path.read_text()) if kind == language]


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


def test_files_that_are_named_are_there() -> None:
    text = "".join(path.read_text() for path in DOCUMENTS if path.name != "CHANGELOG.md")
    named = set(re.findall(rf"`((?:{'|'.join((*PACKAGES, 'tests'))})/[\w/]+\.py)`", text))
    assert {file for file in named if not (ROOT / file).is_file()} <= {"export/models/qwen2.py"}  # the example


@pytest.mark.parametrize(("program", "arguments"), list(command_lines()))
def test_command_lines_are_understood(program: str, arguments: str) -> None:
    given = shlex.split(arguments, comments=True)
    PARSERS[program]().parse_args(node.split_arguments(given)[0] if program == "xsam-node" else given)


@pytest.mark.parametrize("path", [path for path in READMES if blocks(path, "python")], ids=name)
def test_programs_run(path: Path, shapes_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shapes-fp32").symlink_to(shapes_bundle)
    Path("scenes").mkdir()
    Image.fromarray(draw(compose(83), 480).pixels).save("scenes/00000083.png")
    exec("\n".join(blocks(path, "python")), {})
    assert Path("out.png").is_file()


def test_the_example_of_a_language_model_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    (example,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    module = ModuleType("xsam_edge.export.models.qwen2")
    exec(example, module.__dict__)
    known = VARIANTS["smollm2-360m"]
    sizes = replace(known.config.llm, model_type="qwen2", hidden_size=24, intermediate_size=32, num_layers=2)
    sizes = replace(sizes, num_heads=4, num_kv_heads=2, head_dim=6, vocab_size=97, tie_word_embeddings=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(VARIANTS, "qwen2", replace(known, config=replace(known.config, llm=sizes)))
    config = transformers.Qwen2Config(
        vocab_size=97,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=sizes.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": sizes.rope_theta},
    )
    theirs, ours = transformers.Qwen2ForCausalLM(config).eval(), CausalLM(sizes).eval()
    for name, tensor in theirs.state_dict().items():
        tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))) / 4)
    ours.load_state_dict(theirs.state_dict())
    ids = torch.arange(9)[None]
    with torch.no_grad():
        _, logits, _ = ours(ours.embed(ids), ids, ours.empty_cache(), torch.arange(9))
        torch.testing.assert_close(logits, theirs(ids).logits[0], atol=1e-4, rtol=0)
