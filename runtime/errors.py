"""Errors that a user can cause or mend.

A command turns any ``XSamError`` into one line on stderr and exit code 2; every message says what was found,
what was expected and what to do.
"""

from __future__ import annotations


class XSamError(Exception):
    """Base of every error that is not a bug."""


class InputError(XSamError, ValueError):
    """An image, prompt, region or option that cannot be used."""


class ImageError(InputError):
    """An image file that is missing, empty, damaged or no image."""


class BundleError(XSamError):
    """A bundle that is missing, incomplete, of another schema, or altered."""


class AlteredFileError(BundleError):
    """A file of a bundle that is not the one its manifest describes."""


class CheckpointError(XSamError):
    """A checkpoint that is unreadable, unsafe, incomplete or of another model."""


class BackendError(XSamError):
    """An inference backend that is not installed or cannot run a graph."""


class EngineVersionError(BackendError):
    """The library that built a bundle's engines is not installed, or is another release."""


class EngineDeviceError(BackendError):
    """A GPU that a bundle's engines were not built for."""


class NoDeviceError(BackendError):
    """No CUDA device."""


class EngineBuildError(BackendError):
    """A graph that cannot be compiled into an engine."""


class DeviceMemoryError(BackendError):
    """A model that does not fit the memory of a device."""


class ContextLengthError(InputError):
    """A prompt that does not fit the language model's context."""
