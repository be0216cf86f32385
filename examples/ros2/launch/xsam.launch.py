"""Starts the node for a camera.

ros2 launch xsam_edge_ros xsam.launch.py bundle:=/data/bundle prompt:="the red cup"
"""

from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "bundle": ("", "folder that xsam-export wrote; empty: that of the parameters' file"),
    "prompt": ("", "a phrase or JSON; empty: that of the parameters' file"),
    "image": ("/camera/color/image_raw", "topic of the camera's images"),
    "params_file": (str(Path(__file__).parents[1] / "config" / "xsam.yaml"), "parameters of the node"),
    "name": ("xsam_node", "name of the node, under which its topics are"),
    "use_sim_time": ("false", "true where a bag or a simulator publishes /clock"),
}


def start(context: Any) -> list[Any]:
    """The node, with what was given in place of what the file says."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # A text, whatever it looks like: YAML would make a mapping of JSON.
    texts = {name: ParameterValue(given[name], value_type=str) for name in ("bundle", "prompt") if given[name]}
    return [
        Node(
            package="xsam_edge_ros",
            executable="xsam_node",
            name=given["name"],
            parameters=[given["params_file"], {**texts, "use_sim_time": given["use_sim_time"].lower() == "true"}],
            remappings=[("~/image", given["image"]), ("~/image/compressed", f"{given['image']}/compressed")],
            output="screen",
            respawn=True,
            respawn_delay=2.0,
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What ``ros2 launch`` asks for."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
