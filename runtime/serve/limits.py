"""What a server takes and keeps at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of requests, of the queue and of what is kept between requests."""

    body_bytes: int = 20 << 20
    """Of one request: pictures, masks and fields together; in JSON a picture takes a third more."""
    pixels: int = 40_000_000
    """Width x height of a picture or a mask, which its header tells before it is decoded."""
    requests: int = 64
    """That are read, wait and are answered at one time; one more gets the status 429."""
    seconds: float = 60.0
    """From the end of a request's body to its answer."""
    body_seconds: float = 30.0
    """From the beginning of a request's body to its end."""
    header_seconds: float = 10.0
    """From a connection, or the end of a response on it, to the end of the next request's headers."""
    shutdown_seconds: float = 30.0
    """In which requests that were taken are finished when the server is told to end."""
    scenes: int = 64
    """Pictures that are kept."""
    scene_seconds: float = 600.0
    """After which a picture that was not asked about is let go of."""
    scene_bytes: int = 1 << 30
    """Of the pixels of kept pictures; their features have as much again."""
    prompts: int = 32
    """In one request."""
    text: int = 2000
    """Characters of a phrase, a name or a question."""
    categories: int = 512
    """Things and stuff together."""
    regions: int = 64
    """Boxes, points and masks together."""
    new_tokens: int = 2048
    """Of a caption or an answer."""
    batch: int = 16
    """Prompts on one picture that are answered together, whoever sent them."""
