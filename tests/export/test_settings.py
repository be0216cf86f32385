from __future__ import annotations

import json
from pathlib import Path

import pytest

from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.settings import REJECTION_FILE, settings_for
from xsam_edge.export.tokenizer import read_tokenizer
from xsam_edge.runtime.bundle.settings import RejectionRule, Settings
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.progress import silent

VARIANT = get_variant("shapes")
DEMO = Path(__file__).parents[2] / "export" / "demo" / "shapes" / "inits"


def settings(inits: Path | None) -> Settings:
    tokenizer, eos = read_tokenizer(VARIANT, DEMO, silent)
    return settings_for(VARIANT.config, VARIANT, tokenizer, eos, inits)


@pytest.fixture
def inits(tmp_path: Path) -> Path:
    """The demo's, without rules."""
    for path in DEMO.rglob("*/*"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_model_may_come_with_rules_of_rejection(inits: Path) -> None:
    assert settings(inits).rejection is None
    rule = {"threshold": 0.9, "false_alarms": 0.01, "asks": 500}
    (inits / REJECTION_FILE).write_text(json.dumps({"refer": rule}))
    assert settings(inits).rejection == {"refer": RejectionRule(0.9, 0.01, 500)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"refer": {"threshold": 1.5, "false_alarms": 0.01, "asks": 1}}', "refer.threshold is 1.5"),
        ('{"chat": {"threshold": 0.5, "false_alarms": 0.01, "asks": 1}}', "chat"),
        ('{"refer": {"threshold": 0.5}}', "false_alarms"),
    ],
)
def test_rules_that_cannot_be(inits: Path, content: str, message: str) -> None:
    (inits / REJECTION_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        settings(inits)
    assert REJECTION_FILE in str(caught.value)


def test_the_demo_model_comes_with_rules_for_one_per_cent() -> None:
    rules = settings(DEMO).rejection
    assert rules is not None and rules.keys() == {"refer", "reason"}
    for rule in rules.values():
        assert rule.false_alarms == 0.01
        assert rule.asks >= 1000
