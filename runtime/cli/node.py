"""``xsam-node``: a ROS 2 node that answers a camera's images; rclpy comes from the ROS distribution."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xsam_edge.runtime.cli.common import Parser, command, describe_error, file_path, package_version
from xsam_edge.runtime.errors import BackendError

PROGRAM = "xsam-node"
_EXAMPLES = """\
examples:
  xsam-node bundle --ros-args -p prompt:="the red cup" -r "~/image:=/camera/color/image_raw"
  xsam-node bundle --ros-args --params-file xsam.yaml
  xsam-node --ros-args -p bundle:=/data/bundle -p autostart:=false

Parameters, topics and services are listed in runtime/README.md. It ends with 0 when it is shut down, and with 2 where
rclpy is not installed or a parameter makes no sense at the start.
"""
_ROS_ARGUMENTS, _END = "--ros-args", "--"


def parser() -> argparse.ArgumentParser:
    """The command's options; those of ROS are taken out before."""
    options = Parser(
        PROGRAM,
        usage=f"{PROGRAM} [BUNDLE] [--ros-args ...]",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "bundle", type=file_path, nargs="?", metavar="BUNDLE", help="folder that xsam-export wrote (or -p bundle:=)"
    )
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of ROS: from each ``--ros-args`` to ``--`` or the end."""
    own: list[str] = []
    ros: list[str] = []
    inside = False
    for argument in arguments:
        if inside:
            ros.append(argument)
            inside = argument != _END
        elif argument == _ROS_ARGUMENTS:
            ros.append(argument)
            inside = True
        else:
            own.append(argument)
    return own, ros


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    own, ros = split_arguments(sys.argv[1:] if arguments is None else arguments)
    return command(PROGRAM, parser(), lambda options: run(options, ros), own)


def run(options: argparse.Namespace, ros_arguments: Sequence[str] = ()) -> int:
    """Run the node until it is shut down; returns 0.

    Raises:
        BackendError: rclpy cannot be loaded.
        InputError: a parameter that makes no sense.
    """
    try:
        from xsam_edge.runtime.ros import spin
    except ImportError as error:
        package = (error.name or "rclpy").partition(".")[0]
        if package == "xsam_edge":
            raise
        missing = isinstance(error, ModuleNotFoundError)
        fault = f"{package} is not installed" if missing else f"{package} cannot be loaded ({describe_error(error)})"
        raise BackendError(
            f"{fault}; it comes with ROS 2: run `source /opt/ros/<distribution>/setup.bash`, and this command with "
            "the distribution's Python, or in a `python3 -m venv --system-site-packages` of it"
        ) from None
    return spin.run(options.bundle, ros_arguments)
