"""Messages of ROS 2 to arrays and answers to messages, without ROS: of rclpy, of rosbags, or of any other library."""
