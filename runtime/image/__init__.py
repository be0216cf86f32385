"""Images, regions and pixels: everything before a graph is needed."""
