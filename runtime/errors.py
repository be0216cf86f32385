"""Errors that a user can cause or mend.

A command turns any ``XSamError`` into one line on stderr and exit code 2; every message says what was found,
what was expected and what to do.
"""

from __future__ import annotations


class XSamError(Exception):
    """Base of every error that is not a bug."""


class InputError(XSamError, ValueError):
    """An image, prompt, region or option that cannot be used."""


class BundleError(XSamError):
    """A bundle that is missing, incomplete, of another schema, or altered."""


class CheckpointError(XSamError):
    """A checkpoint that is unreadable, unsafe, incomplete or of another model."""


class BackendError(XSamError):
    """An inference backend that is not installed or cannot run a graph."""


class ContextLengthError(InputError):
    """A prompt that does not fit the language model's context."""
