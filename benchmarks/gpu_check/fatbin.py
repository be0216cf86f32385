"""Kernels of a CUDA library for one GPU: what it holds for others becomes zeros, which compress to nothing.

Kernels lie in the section ``.nv_fatbin`` of an ELF file: containers, each of entries for a compute capability, as
machine code or as PTX. An entry keeps its place and its header, so that nothing else of the file changes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from xsam_edge.runtime.errors import InputError

_MAGIC = 0xBA55ED50
_CONTAINER = struct.Struct("<IHHQ")  # magic, version, bytes of the header, bytes behind it
_ENTRY = struct.Struct("<HHIQ")  # kind, version, bytes of the header, bytes behind it
_CAPABILITY = 28  # where an entry's header has its compute capability, such as 90
_CODE = 2  # the kind of an entry that is machine code
_STEP = 8  # bytes that containers are aligned to


def prune(library: bytearray, capability: int) -> int:
    """Zero the kernels of a library that are not machine code for ``capability``, in place.

    Containers without any for it stay as they are: what they hold is compiled or run as PTX.

    Returns:
        bytes that became zeros.

    Raises:
        InputError: no 64-bit ELF file, or one without CUDA kernels.
    """
    start, stop = _section(library, b".nv_fatbin")
    zeroed = 0
    for entries in _containers(library, start, stop):
        if not any(kind == _CODE and found == capability for kind, found, _, _ in entries):
            continue
        for kind, found, offset, length in entries:
            if (kind, found) != (_CODE, capability):
                library[offset : offset + length] = bytes(length)
                zeroed += length
    return zeroed


def _section(library: bytearray, name: bytes) -> tuple[int, int]:
    """Where a section begins and ends in the file."""
    if library[:5] != b"\x7fELF\x02":
        raise InputError("a library to prune is no 64-bit ELF file; give one for Linux")
    (table,) = struct.unpack_from("<Q", library, 0x28)
    size, count, names = struct.unpack_from("<HHH", library, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", library, table + index * size) for index in range(count)]
    strings = headers[names][4] if names < count else 0
    for header in headers:
        begin = strings + header[0]
        if library[begin : begin + len(name) + 1] == name + b"\0":
            return header[4], header[4] + header[5]
    raise InputError("a library to prune holds no CUDA kernels; give that of the CUDA provider")


def _containers(library: bytearray, start: int, stop: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """Entries of each container: kind, compute capability, and where its payload lies."""
    place = start
    while place + _CONTAINER.size <= stop:
        magic, _, header, length = _CONTAINER.unpack_from(library, place)
        if magic != _MAGIC:
            place += _STEP
            continue
        entry, end = place + header, place + header + length
        entries = []
        while entry < end:
            kind, _, head, size = _ENTRY.unpack_from(library, entry)
            (capability,) = struct.unpack_from("<I", library, entry + _CAPABILITY)
            entries.append((kind, capability, entry + head, size))
            entry += head + size
        yield entries
        place = end
