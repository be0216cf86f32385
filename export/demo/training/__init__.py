"""Training of the demo model ``shapes``: the exported modules, on drawn scenes, from random weights."""
