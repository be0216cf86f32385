"""Builds vision_msgs from its definitions into an environment that has the wheels of ROS 2, which lack it.

    python -m tests.runtime.ros.interfaces

installs into the environment whose Python runs it; needs cmake, ninja or make, and a C++ compiler. A minute's work.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from xsam_edge.runtime.ros_messages.definitions import VISION_MSGS

_PACKAGE = """<package format="3">
  <name>{name}</name><version>0.0.0</version><description>for tests</description>
  <maintainer email="nobody@example.com">nobody</maintainer><license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend><depend>std_msgs</depend><depend>geometry_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
"""
_CMAKE = """cmake_minimum_required(VERSION 3.20)
project({name})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(std_msgs REQUIRED)
find_package(geometry_msgs REQUIRED)
rosidl_generate_interfaces({name} {files} DEPENDENCIES std_msgs geometry_msgs)
ament_package()
"""


def build(name: str, definitions: Mapping[str, str], prefix: Path) -> None:
    """Build and install a package of messages, ``definitions`` by their names, under ``prefix``.

    Raises:
        CalledProcessError: cmake or the compiler failed; their output is on stdout and stderr.
    """
    _mend(prefix)
    with TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        (source / "msg").mkdir(parents=True)
        for message, text in definitions.items():
            (source / "msg" / f"{message}.msg").write_text(text)
        files = " ".join(f'"msg/{message}.msg"' for message in definitions)
        (source / "package.xml").write_text(_PACKAGE.format(name=name))
        (source / "CMakeLists.txt").write_text(_CMAKE.format(name=name, files=files))
        packages = [path for path in sys.path if path.endswith("site-packages")]
        variables = {
            **os.environ,
            "AMENT_PREFIX_PATH": str(prefix),
            "CMAKE_PREFIX_PATH": str(prefix),
            "PYTHONPATH": os.pathsep.join(packages),
            "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        options = [
            f"-DCMAKE_INSTALL_PREFIX={prefix}",
            f"-DPython3_EXECUTABLE={sys.executable}",
            f"-DPYTHON_INSTALL_DIR={Path(sysconfig.get_path('purelib')).relative_to(prefix)}",
            "-DBUILD_TESTING=OFF",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_CXX_FLAGS=-O0",  # what is compiled is small and runs seldom
            "-DCMAKE_C_FLAGS=-O0",
        ]
        made = str(Path(folder) / "build")
        subprocess.run(["cmake", "-S", str(source), "-B", made, *options], check=True, env=variables)
        subprocess.run(["cmake", "--build", made, "--target", "install"], check=True, env=variables)


def _mend(prefix: Path) -> None:
    """The wheels' cmake files name the Python that they were built with."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    theirs = f"/opt/python/{tag}-{tag}"
    for file in (prefix / "share").rglob("*.cmake"):
        text = file.read_text()
        if theirs in text:
            text = text.replace(f"{theirs}/include/{version}", sysconfig.get_path("include"))
            numpy = f"{theirs}/lib/{version}/site-packages/numpy/core/include"
            for found in (numpy, numpy.replace("/core/", "/_core/")):
                text = text.replace(found, np.get_include())
            file.write_text(text)


if __name__ == "__main__":
    if importlib.util.find_spec("vision_msgs") is None:
        wanted = {name.rpartition("/")[2]: text for name, text in VISION_MSGS.items()}
        build("vision_msgs", wanted, Path(sys.prefix))
