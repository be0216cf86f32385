"""Where answers of a stream go: pictures, a video, a bag, a viewer. A new kind is a file here and an option."""
