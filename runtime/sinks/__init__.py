"""Where answers of a stream go: pictures, a video, a bag, a viewer. A new kind is a new file here and an option of ``xsam-segment``."""
