"""Data sets: pictures and what is asked of them, from folders in the common formats and from files of prompts."""
