"""A package of ROS around xsam-edge: its node under a name that `ros2 run` and launch files know."""
