"""Installs launch file and parameters where `ros2 launch` looks, and the node as an executable of this package."""

from setuptools import setup

NAME = "xsam_edge_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/xsam.launch.py"]),
        (f"share/{NAME}/config", ["config/xsam.yaml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={"console_scripts": ["xsam_node = xsam_edge.runtime.cli.node:main"]},
)
