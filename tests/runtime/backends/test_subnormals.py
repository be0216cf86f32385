from __future__ import annotations

import platform
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import DATA
from xsam_edge.runtime.backends.subnormals import flushed_subnormals, kept_subnormals
from xsam_edge.runtime.model import XSam

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc",
    reason="the rounding of this system is not known",
)


def are_flushed() -> bool:
    small = np.full(4, 1e-20, np.float32)
    return not (small * small).any()


def test_subnormals_are_zero_inside_and_back_outside() -> None:
    with flushed_subnormals():
        assert are_flushed()
        with flushed_subnormals():
            assert are_flushed()
        assert are_flushed()
    assert not are_flushed()


def test_other_threads_keep_theirs() -> None:
    seen: list[bool] = []
    entered, done = threading.Event(), threading.Event()

    def flush() -> None:
        with flushed_subnormals():
            entered.set()
            done.wait(10)

    thread = threading.Thread(target=flush)
    thread.start()
    entered.wait(10)
    seen.append(are_flushed())
    done.set()
    thread.join()
    assert seen == [False]


def test_kept_undoes_what_is_done_inside() -> None:
    with kept_subnormals():
        inside = flushed_subnormals()
        inside.__enter__()
        assert are_flushed()
    assert not are_flushed()


def test_a_model_leaves_the_rounding_of_its_callers_alone(phi3_bundle: Path) -> None:
    """In the thread that loads it, which ONNX Runtime changes, and in those that ask."""
    seen: list[bool] = []

    def use() -> None:
        with XSam.load(phi3_bundle, threads=1, verify="none").look(DATA / "golden-phi3" / "image.png") as scene:
            seen.append(are_flushed())
            scene.refer("a car", answer="append")
            seen.append(are_flushed())

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [False, False]
