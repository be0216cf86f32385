"""How well objects keep their identities over the frames of moving drawn scenes."""
