from __future__ import annotations

import importlib.util

import pytest

from xsam_edge.runtime.cli.node import main, split_arguments


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


def test_help_needs_no_ros(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--ros-args" in capsys.readouterr().out
    assert main(["bundle", "--deadline", "5"]) == 2
    assert "unrecognized arguments: --deadline 5" in capsys.readouterr().err
