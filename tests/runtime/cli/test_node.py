from __future__ import annotations

import argparse
import builtins
import importlib.util

import pytest

from xsam_edge.runtime.cli.node import main, run, split_arguments
from xsam_edge.runtime.errors import BackendError


@pytest.mark.parametrize(
    ("given", "own", "ros"),
    [
        (["bundle"], ["bundle"], []),
        (["bundle", "--ros-args", "-p", "a:=b"], ["bundle"], ["--ros-args", "-p", "a:=b"]),
        (["--ros-args", "-p", "a:=b", "--", "bundle"], ["bundle"], ["--ros-args", "-p", "a:=b", "--"]),
        (["--ros-args", "-p", "a:=--help", "-r", "b:=c"], [], ["--ros-args", "-p", "a:=--help", "-r", "b:=c"]),
    ],
)  # fmt: skip
def test_arguments_of_ros_are_passed_on(given: list[str], own: list[str], ros: list[str]) -> None:
    assert split_arguments(given) == (own, ros)


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is not None, reason="rclpy is installed")
def test_without_rclpy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "--ros-args", "-p", "prompt:=a cup"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xsam-node: error: rclpy is not installed; it comes with ROS 2: run `source /opt/ros/")
    assert error.count("\n") == 1


def test_an_rclpy_of_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, *_: object) -> None:
        raise ImportError("The C extension '_rclpy_pybind11'\nisn't present", name="rclpy._rclpy_pybind11")

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(BackendError) as error:
        run(argparse.Namespace(bundle=None))
    monkeypatch.undo()
    assert str(error.value).startswith(
        "rclpy cannot be loaded (The C extension '_rclpy_pybind11' isn't present); it comes"
    )


def test_help_needs_no_ros(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--ros-args" in capsys.readouterr().out
    assert main(["bundle", "--deadline", "5"]) == 2
    assert "unrecognized arguments: --deadline 5" in capsys.readouterr().err
