"""What a device must be and have: compatibility, memory, transfers."""
