"""The demo model ``shapes``: its weights and configurations, and its training, which is not in the wheel."""
