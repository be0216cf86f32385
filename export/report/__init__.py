"""The report of a reduced-precision export: its facts as JSON, as a page and as a few lines for a terminal."""
