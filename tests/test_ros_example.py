"""The package for a workspace of ROS 2 in ``examples/ros2``, without ROS: its files fit each other and the node."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import setuptools
import tomllib
import yaml

from xsam_edge.runtime.ros.parameters import Parameters
from xsam_edge.runtime.ros.prompts import parse

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "ros2"
NAME = "xsam_edge_ros"
# Where the file is for users to fill in, or says something else on purpose.
OF_ITS_OWN = {"bundle", "prompt", "transport", "overlay_max_side"}


def parameters(path: Path) -> dict[str, Any]:
    (node,) = yaml.safe_load(path.read_text()).values()
    found: dict[str, Any] = node["ros__parameters"]
    return found


def test_the_file_of_parameters_has_all_of_them_with_their_defaults() -> None:
    given = parameters(EXAMPLE / "config" / "xsam.yaml")
    defaults = Parameters().values()
    assert list(given) != [] and given.keys() == defaults.keys()
    assert {name for name in given if given[name] != defaults[name]} == OF_ITS_OWN
    assert Parameters.of(given).values() == given
    assert parse(given["prompt"]).names == ("person", "chair", "floor", "wall")


def test_the_package_is_one_of_ament_python(monkeypatch: pytest.MonkeyPatch) -> None:
    described = ElementTree.parse(EXAMPLE / "package.xml").getroot()
    assert described.findtext("name") == NAME and described.findtext("export/build_type") == "ament_python"
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(setuptools, "setup", lambda **options: calls.append(options))
    runpy.run_path(str(EXAMPLE / "setup.py"))
    (options,) = calls
    assert (options["name"], options["packages"]) == (NAME, [NAME]) and (EXAMPLE / NAME / "__init__.py").is_file()
    assert options["version"] == described.findtext("version")
    files = [file for _, names in options["data_files"] for file in names]
    assert all((EXAMPLE / file).is_file() for file in files)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert options["entry_points"]["console_scripts"] == [f"xsam_node = {scripts['xsam-node']}"]


class Launched:
    """Stand-ins for launch and launch_ros: what is declared, and the node's options."""

    def __init__(self, given: dict[str, str], patch: pytest.MonkeyPatch) -> None:
        self.given = given
        self.nodes: list[dict[str, Any]] = []
        values = {
            "launch": {"LaunchDescription": lambda entities: entities},
            "launch.actions": {
                "DeclareLaunchArgument": self._declare,
                "OpaqueFunction": lambda function: function(None),
            },
            "launch.substitutions": {"LaunchConfiguration": self._configured},
            "launch_ros": {},
            "launch_ros.actions": {"Node": lambda **options: self.nodes.append(options)},
            "launch_ros.parameter_descriptions": {"ParameterValue": lambda value, value_type: value_type(value)},
        }
        for name, members in values.items():
            module = ModuleType(name)
            vars(module).update(members)
            patch.setitem(sys.modules, name, module)
        runpy.run_path(str(EXAMPLE / "launch" / "xsam.launch.py"))["generate_launch_description"]()

    def _declare(self, name: str, default_value: str, description: str) -> None:
        assert description
        self.given.setdefault(name, default_value)

    def _configured(self, name: str) -> Any:
        return SimpleNamespace(perform=lambda _: self.given[name])


def test_the_launch_file(monkeypatch: pytest.MonkeyPatch) -> None:
    (node,) = Launched({"image": "/lens/image", "prompt": '{"chat": "?"}', "use_sim_time": "true"}, monkeypatch).nodes
    assert (node["package"], node["executable"], node["name"]) == (NAME, "xsam_node", "xsam_node")
    file, given = node["parameters"]
    assert Path(file) == EXAMPLE / "config" / "xsam.yaml" and Path(file).is_file()
    assert given == {"prompt": '{"chat": "?"}', "use_sim_time": True}
    assert dict(node["remappings"]) == {"~/image": "/lens/image", "~/image/compressed": "/lens/image/compressed"}


def test_the_launch_file_leaves_what_is_not_given_to_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    (node,) = Launched({}, monkeypatch).nodes
    assert node["parameters"][1] == {"use_sim_time": False}
    assert node["remappings"][0] == ("~/image", "/camera/color/image_raw")
