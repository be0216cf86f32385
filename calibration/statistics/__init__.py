"""Statistics of a bundle's activations over calibration data, and what follows from them: ranges and smoothing."""
