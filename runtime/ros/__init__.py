"""A node of ROS 2 around a model. Modules that need rclpy say so; the others are tested without it."""
