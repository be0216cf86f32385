"""A bundle against recordings of the official code, stage by stage."""
