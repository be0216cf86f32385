"""Answers in Rerun: live in its viewer, or as an ``.rrd`` file that it opens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.results.overlay import palette
from xsam_edge.runtime.ros_messages.found import Found, found_in, mask_image
from xsam_edge.runtime.sinks.base import check_file, segments, words
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.tracked import TrackedFrame

SPAWN, ENDING = "spawn", ".rrd"
_ADDRESS = re.compile(r"(rerun(\+https?)?://[^/]+/proxy)|((?:[\w.-]+|\[[0-9a-fA-F:]+\]):[0-9]+)")
_CAMERA = "camera"
_QUALITY = 90
_PATIENCE = 5.0  # seconds in which a viewer should take what is left at the end
_DATES = 10**17  # nanoseconds since 1970 from which stamps are dates, 1973 on; smaller ones are times in a recording


def check_rerun(where: str, overwrite: bool) -> None:
    """Refuse what is no place for answers, before anything is computed.

    Raises:
        InputError: neither "spawn", the name of an ``.rrd`` file in a folder that is there, nor a viewer's address; or
            a file that exists.
    """
    if where == SPAWN:
        return
    if not where.lower().endswith(ENDING):
        port = re.search(r":([0-9]+)(/proxy)?$", where)
        if _ADDRESS.fullmatch(where) is None or port is None or not 0 < int(port[1]) < 1 << 16:
            raise InputError(
                f"--rerun is {where!r}; expected a file that ends in {ENDING}, a viewer's host:port or rerun+http://"
                f"host:port/proxy, or {SPAWN}, which opens a viewer here"
            )
        return
    check_file(Path(where), overwrite, "another with --rerun")


class RerunSink:
    """Logs every answered frame, on the timelines ``frame``, its number, and ``stamp``, where it has a time.

    ``camera/image`` is the picture as JPEG, ``camera/mask`` an image of class ids, ``camera/boxes`` the boxes with
    labels and scores, ``text`` captions and answers, ``latency/...`` the milliseconds of every stage and the age. A
    class is a label; classes are numbered from 1 as they are first seen, and named and coloured for the viewer. Late
    frames are told in ``text``.

    ``where`` is as in :func:`check_rerun`. What is there is opened, or replaced, with the first frame.

    Raises:
        BackendError: the package of the extra ``rerun`` is not installed.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        try:
            self._rerun = import_module("rerun")
        except ImportError as error:
            raise BackendError(
                f"--rerun needs the package rerun-sdk, which cannot be loaded ({error}); run "
                "`pip install 'xsam-edge[rerun]'`"
            ) from error
        self._recording: Any = None
        self._classes: dict[str, int] = {}
        self._dated: bool | None = None

    def write(self, seen: FrameResult | Late) -> Sequence[Path]:
        """Log a frame. Raises InputError where no viewer or file can be opened."""
        if self._recording is None:
            self._recording = self._opened()
        self._set_time(seen)
        self._log("latency/age", self._rerun.Scalars(seen.age_ms))
        if seen.late:
            late = f"frame {seen.name or seen.index} was late: {seen.stage}"
            self._log("text", self._rerun.TextLog(late, level="WARN"))
            return ()
        for stage, milliseconds in seen.timings.items():
            self._log(f"latency/{stage}", self._rerun.Scalars(float(milliseconds)))
        for text in words(seen.results):
            self._log("text", self._rerun.TextLog(text, level="INFO"))
        if (picture := seen.result.image) is not None:
            image = self._rerun.Image(np.asarray(picture.convert("RGB")))
            self._log(f"{_CAMERA}/image", image.compress(jpeg_quality=_QUALITY))
        if segments(seen.results):
            self._log_segments(seen)
        return ()

    def close(self) -> None:
        """Hand over what is left. Raises InputError where no viewer takes it within a few seconds, or no disk."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        try:
            recording.flush(timeout_sec=_PATIENCE)
        except Exception as error:  # a RuntimeError or a TimeoutError, as releases go
            raise InputError(
                f"--rerun {self.where} did not take all answers ({' '.join(str(error).split())}); check that a viewer "
                "is there, or that the disk has room"
            ) from error
        finally:
            recording.disconnect()

    def _opened(self) -> Any:
        recording = self._rerun.RecordingStream("xsam-segment")
        try:
            if self.where == SPAWN:
                recording.spawn()
            elif self.where.lower().endswith(ENDING):
                recording.save(self.where)
            else:
                recording.connect_grpc(self.where if "://" in self.where else f"rerun+http://{self.where}/proxy")
        except Exception as error:  # of the viewer that does not start, or of the operating system
            raise InputError(f"--rerun {self.where} cannot be opened ({' '.join(str(error).split())})") from error
        return recording

    def _set_time(self, seen: FrameResult | Late) -> None:
        self._recording.set_time("frame", sequence=seen.index)
        stamp = seen.stamp_ns
        if stamp is None and seen.timestamp is not None:
            stamp = round(1e9 * seen.timestamp)
        if stamp is None:
            return
        if self._dated is None:  # a timeline has one kind of times
            self._dated = stamp >= _DATES
        if self._dated:
            self._recording.set_time("stamp", timestamp=np.datetime64(stamp, "ns"))
        else:
            self._recording.set_time("stamp", duration=np.timedelta64(stamp, "ns"))

    def _log_segments(self, seen: FrameResult) -> None:
        """Masks and boxes, coloured by identities where frames are tracked, else by labels."""
        tracked = isinstance(seen, TrackedFrame)
        found = found_in(seen.results, tracked=tracked)
        names = [f"#{thing.id} {thing.label}" if tracked else thing.label for thing in found]
        classes = [
            self._class_of(name, thing.id if tracked else None) for name, thing in zip(names, found, strict=True)
        ]
        by_class = [Found(number, thing.segment) for number, thing in zip(classes, found, strict=True)]
        self._log(f"{_CAMERA}/mask", self._rerun.SegmentationImage(mask_image(by_class, seen.result.image_size)))
        boxes = self._rerun.Boxes2D(
            centers=np.array([thing.centre for thing in found], np.float32).reshape(-1, 2),
            sizes=np.array([thing.size for thing in found], np.float32).reshape(-1, 2),
            labels=[f"{name} {thing.score:.2f}" for name, thing in zip(names, found, strict=True)],
            class_ids=classes,
        )
        self._log(f"{_CAMERA}/boxes", boxes)

    def _class_of(self, name: str, number: int | None) -> int:
        """The number by which a thing of this name is coloured, its own or the next."""
        if name not in self._classes:
            self._classes[name] = len(self._classes) + 1 if number is None else number
            context = [(known, label, palette(known - 1)) for label, known in self._classes.items()]
            self._recording.log(_CAMERA, self._rerun.AnnotationContext(context), static=True, strict=True)
        return self._classes[name]

    def _log(self, entity: str, values: Any) -> None:
        self._recording.log(entity, values, strict=True)
