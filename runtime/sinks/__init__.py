"""Where answers of a stream go: pictures, a video. A new kind is a new file here and an option of ``xsam-segment``."""
