"""The report of a reduced-precision export: its facts as JSON, as a page and as ten lines for a terminal."""
