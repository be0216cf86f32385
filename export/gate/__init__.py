"""The gate: what a precision costs in mask IoU, and the search for a plan that keeps the masks."""
