import struct

import pytest

from xsam_edge.benchmarks.gpu_check.fatbin import prune
from xsam_edge.runtime.errors import InputError

CODE, PTX = 2, 1
HEADER = 64


def entry(kind: int, capability: int, payload: bytes) -> bytes:
    head = struct.pack("<HHIQ", kind, 0x101, HEADER, len(payload)).ljust(28, b"\0") + struct.pack("<I", capability)
    return head.ljust(HEADER, b"h") + payload


def container(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def library(*containers: bytes, section: bytes = b".nv_fatbin") -> bytearray:
    """An ELF file with one section of kernels, whose containers have a gap between them, and its table of names."""
    kernels = bytes(8).join(containers)
    names = b"\0" + section + b"\0.shstrtab\0"
    place = 64
    table = place + len(kernels) + len(names)
    head = b"\x7fELF\x02\x01\x01".ljust(0x28, b"\0") + struct.pack("<QIHHHHHH", table, 0, 64, 0, 0, 64, 3, 2)
    sections = [
        (0, 0, 0),
        (1, place, len(kernels)),
        (2 + len(section), place + len(kernels), len(names)),
    ]
    headers = b"".join(
        struct.pack("<IIQQQQ", name, 1, 0, 0, start, size).ljust(64, b"\0") for name, start, size in sections
    )
    return bytearray(head.ljust(64, b"\0") + kernels + names + headers)


def test_kernels_of_other_gpus_become_zeros() -> None:
    parts = entry(CODE, 80, b"a" * 40), entry(CODE, 90, b"b" * 48), entry(PTX, 90, b"c" * 16)
    content = library(container(*parts), container(entry(CODE, 80, b"d" * 24)))
    expected = bytes(content).replace(b"a" * 40, bytes(40)).replace(b"c" * 16, bytes(16))
    assert prune(content, 90) == 56
    assert bytes(content) == expected, "headers, and what is for no GPU of these, stay"


def test_what_is_all_for_others_stays() -> None:
    content = library(container(entry(CODE, 80, b"a" * 40), entry(PTX, 90, b"c" * 16)))
    before = bytes(content)
    assert prune(content, 90) == 0 and bytes(content) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytearray(b"MZ" + bytes(100)), "no 64-bit ELF"),
        (library(container(), section=b".text"), "holds no CUDA kernels"),
    ],
)
def test_other_files_are_refused(content: bytearray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(content, 90)
