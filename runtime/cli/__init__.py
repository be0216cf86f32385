"""The commands xsam-segment and xsam-doctor, and what all commands share."""
