from __future__ import annotations

import argparse

import pytest

from xsam_edge.runtime.cli.idle import refuse_idle
from xsam_edge.runtime.errors import InputError


def options(*arguments: str) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--some-number", type=int, default=3)
    parser.add_argument("--for", dest="dialect")
    parser.add_argument("--flag", action="store_true")
    return parser.parse_args(arguments), parser


@pytest.mark.parametrize(
    ("given", "flag"), [("--some-number=4", "--some-number"), ("--for=x", "--for"), ("--flag",) * 2]
)
def test_what_was_given_is_refused_by_its_name(given: str, flag: str) -> None:
    with pytest.raises(InputError, match=f"^{flag} is of another task$"):
        refuse_idle(*options(given), ("dialect", "some_number", "flag"), "is of another task")


def test_defaults_and_other_options_are_not() -> None:
    refuse_idle(*options(), ("dialect", "some_number", "flag"), "is of another task")
    refuse_idle(*options("--flag", "--some-number", "3"), ("dialect", "some_number"), "is of another task")
