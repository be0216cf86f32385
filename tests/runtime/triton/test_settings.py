"""Parameters of ``config.pbtxt``."""

from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.triton.settings import DEFAULT_SCENES, Settings, read_settings

FOLDER = Path("/models/xsam")


def test_all() -> None:
    given = {"device": "cuda", "threads": "2", "context": "512", "verify": "changed", "scenes": "0"}
    expected = Settings(Path("/models/xsam/1/bundle"), "cuda", 2, 512, "changed", 0)
    assert read_settings({"bundle": "1/bundle", **given, "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}, FOLDER) == expected


def test_defaults() -> None:
    expected = Settings(Path("/bundles/a"), "cpu", 0, None, "full", DEFAULT_SCENES)
    assert read_settings({"bundle": "/bundles/a", "context": "0"}, FOLDER) == expected


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "config.pbtxt has no parameter bundle"),
        ({"bundle": ""}, "config.pbtxt has no parameter bundle"),
        ({"bundle": "a\0b"}, "the parameter bundle is"),
        ({"bundle": "a", "thread": "2"}, "has the parameter 'thread'; it takes bundle, device, threads"),
        ({"bundle": "a", "threads": "two"}, "the parameter threads is 'two'; expected a whole number from 0 on"),
        ({"bundle": "a", "scenes": "-1"}, "the parameter scenes is '-1'"),
        ({"bundle": "a", "scenes": "²"}, "the parameter scenes is '²'"),
        ({"bundle": "a", "scenes": "9" * 5000}, "the parameter scenes is 99999"),
        ({"bundle": "a", "verify": "yes"}, "the parameter verify is 'yes'; choose 'full'"),
    ],
)
def test_what_cannot_be_read_is_told(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(parameters, FOLDER)
    assert message in str(caught.value)
