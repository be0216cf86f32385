"""Identities over frames: which segment shows what another segment showed before. Knows nothing of models."""
