"""Prompts to answers: the language model's side of a segmentation."""
