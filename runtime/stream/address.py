"""What an address names: a folder, a file, a bag, a camera or its device, a FIFO, a URL, a pipeline of GStreamer."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError

_MOST_CAMERAS = (1 << 31) - 1  # as their libraries count them
_EXPECTED = (
    "give a folder of images, a video, a bag, a camera's number or device, a FIFO, a URL or a GStreamer pipeline"
)
_DESCRIPTION = "metadata.yaml"
_STORAGE = (".mcap", ".db3")  # endings of the files of a bag
_MCAP, _ROS_1 = b"\x89MCAP0\r\n", b"#ROSBAG V"  # how files begin


class Kind(Enum):
    """What stands behind an address."""

    FOLDER = auto()
    FILE = auto()
    BAG = auto()  # of ROS 2: a file of its storage, or a folder of these
    NUMBER = auto()
    DEVICE = auto()  # a character device, such as /dev/video0
    FIFO = auto()
    STDIN = auto()
    URL = auto()
    PIPELINE = auto()


_CAMERA = "check its cable, its place among `v4l2-ctl --list-devices`, and that nothing else uses it"
# What to look at where a live source gives nothing.
_HINTS = {
    Kind.NUMBER: _CAMERA,
    Kind.DEVICE: _CAMERA,
    Kind.FIFO: "check that something writes video to it",
    Kind.STDIN: "check that something writes video to it",
    Kind.URL: "check the address and that its server sends video",
    Kind.PIPELINE: "try it with gst-launch-1.0, and end it in `videoconvert ! video/x-raw,format=BGR ! appsink`",
}


@dataclass(frozen=True)
class Address:
    """``text`` is what a library opens, ``name`` what messages call it: without user, password, query or properties."""

    kind: Kind
    text: str
    name: str

    @property
    def hint(self) -> str:
        """What to do where it gives no video; of live kinds."""
        return _HINTS[self.kind]

    @property
    def never_ends(self) -> bool:
        """Whether it has no end of its own, so that one is a fault."""
        return self.kind in (Kind.NUMBER, Kind.DEVICE)

    @property
    def written(self) -> bool:
        """Whether it is over when its writer is done, rather than lost."""
        return self.kind in (Kind.FIFO, Kind.STDIN)


def locate(address: int | str | os.PathLike[str]) -> Address:
    """Look what ``address`` names; what exists as a path comes first.

    Raises:
        InputError: nothing, or something that holds no images or may not be read.
    """
    if isinstance(address, os.PathLike):
        address = os.fsdecode(address)
    if not isinstance(address, str):
        number = arguments.count("the camera's number", address, high=_MOST_CAMERAS)
        return Address(Kind.NUMBER, str(number), f"camera {number}")
    if address == "-":
        return Address(Kind.STDIN, address, "standard input")
    if (kind := _kind_of_path(address)) is not None:
        return Address(kind, address, address)
    if address.isascii() and address.isdigit() and len(address) <= len(str(_MOST_CAMERAS)):
        return locate(int(address))
    if " ! " in address:
        first = re.match(r"\s*([\w-]*)", address)  # properties may hold a password
        return Address(Kind.PIPELINE, address, f"the pipeline {first and first[1]} ! ...")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", address):
        return Address(Kind.URL, address, without_secrets(address))
    raise InputError(f"{without_secrets(address) or 'an empty address'} does not exist; {_EXPECTED}")


def without_secrets(address: str) -> str:
    """An address that can be shown: what may be a user, a password or a token is replaced by ``***``.

    A password may hold any character, also those that end a host's name, so that all before the last @ is left out.

    >>> without_secrets("rtsp://admin:se/cret@10.0.0.7/live?token=5")
    'rtsp://***@10.0.0.7/live?***'
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return re.sub(r".*:.*@", "***@", address)
    user, at, place = rest.rpartition("@")
    place, query, _ = place.partition("?")
    return f"{scheme}://{'***' if user else ''}{at}{place}{query and '?***'}"


def _kind_of_path(address: str) -> Kind | None:
    try:
        mode = os.stat(address).st_mode
    except PermissionError:
        raise InputError(f"{address} may not be looked at by this user; change the permissions of its folder") from None
    except (OSError, ValueError):  # what is too long or holds a null byte is no path either
        return None
    if stat.S_ISDIR(mode):
        return Kind.BAG if _is_bag_folder(Path(address)) else Kind.FOLDER
    if stat.S_ISREG(mode):
        return Kind.BAG if _is_bag_file(Path(address)) else Kind.FILE
    if stat.S_ISCHR(mode):
        _check_access(address, os.R_OK | os.W_OK, "a camera that may be read and written")
        return Kind.DEVICE
    if stat.S_ISFIFO(mode):
        _check_access(address, os.R_OK, "a FIFO that may be read")
        return Kind.FIFO
    what = "a block device, which is a disk" if stat.S_ISBLK(mode) else "a socket"
    raise InputError(f"{address} is {what}; {_EXPECTED}")


def _is_bag_folder(folder: Path) -> bool:
    """Whether a folder has the description that ROS 2 writes last, or holds nothing else but files of its storage."""
    with suppress(OSError):  # what may not be read is told by whoever reads it
        if is_described(folder):
            return True
        shown = (entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != _DESCRIPTION)
        kinds = (entry.suffix.startswith(_STORAGE) for entry in shown)  # with .db3-wal
        return next(kinds, False) and all(kinds)
    return False


def is_described(folder: Path) -> bool:
    """Whether a folder has the description of a bag; a recorder that was killed may leave an empty one.

    Raises OSError where it may not be read.
    """
    path = folder / _DESCRIPTION
    return path.is_file() and "rosbag2_bagfile_information" in path.read_text(errors="replace")


def _is_bag_file(path: Path) -> bool:
    start = b""
    with suppress(OSError), path.open("rb") as file:
        start = file.read(len(_ROS_1))
    if start == _ROS_1:
        raise InputError(f"{path} is a bag of ROS 1; convert it: `rosbags-convert --src {path} --dst FOLDER`")
    return path.suffix.lower() in _STORAGE or start.startswith(_MCAP)


def _check_access(address: str, access: int, expected: str) -> None:
    if os.access(address, access):
        return
    remedy = "change its permissions"
    if access & os.W_OK:
        group = "its-group"
        with suppress(KeyError, NotImplementedError):  # a group without a name, a system without groups
            group = Path(address).group()
        remedy = f"join its group (`sudo usermod -aG {group} $USER`) and log in again"
    raise InputError(f"{address} is closed to this user; {expected} was expected, so {remedy}")
