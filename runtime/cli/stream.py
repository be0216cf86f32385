"""``xsam-segment --source``: the frames of a folder, a video or what is live, answered as they come."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime.cli.common import count, file_path, load_bundle, positive
from xsam_edge.runtime.cli.messages import is_quiet
from xsam_edge.runtime.cli.output import check_output
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.cli.tasks import question
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Step
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.sinks.bag import BagSink, check_bag, is_bag
from xsam_edge.runtime.sinks.base import FrameSink
from xsam_edge.runtime.sinks.pictures import PictureSink
from xsam_edge.runtime.sinks.rerun import SPAWN, RerunSink, check_rerun
from xsam_edge.runtime.sinks.tracks import TrackSink
from xsam_edge.runtime.sinks.video import VideoSink
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.bag import Bag
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.recording import check_video
from xsam_edge.runtime.stream.sources import Camera, Folder, open_source
from xsam_edge.runtime.stream.stream import Counts

# Option -> what an image has no use for.
_OF_STREAMS = (
    "rate",
    "deadline",
    "every_frame",
    "max_frames",
    "overlap",
    "reconnect",
    "timeout",
    "strict",
    "save_video",
    "save_bag",
    "topic",
    "rerun",
    "track",
)
_FROM = (
    "a folder of images, a video, a bag of ROS 2, a camera's number or device, a FIFO, - for stdin, a URL or a "
    "GStreamer pipeline"
)
# What keeps OpenCV, its FFmpeg and Rerun from printing beside our one line, unless it is set already.
_QUIET = {"OPENCV_LOG_LEVEL": "OFF", "OPENCV_FFMPEG_LOGLEVEL": "-8", "RUST_LOG": "off"}


def add_stream_options(options: argparse.ArgumentParser) -> None:
    """Add ``--source`` and what belongs to it."""
    stream = options.add_argument_group("stream of frames, in place of images")
    stream.add_argument("--source", metavar="FROM", help=_FROM)
    stream.add_argument("--topic", metavar="NAME", help="of a bag: the topic of the images (default: the only one)")
    stream.add_argument("--rate", type=_positive, metavar="FPS", help="play a recording as if it were a camera")
    stream.add_argument("--deadline", type=_positive, metavar="MS", help="give up a frame that is older than this")
    stream.add_argument("--every-frame", action="store_true", help="of what is live, or with --rate: skip no frame")
    stream.add_argument("--max-frames", type=positive, metavar="N", help="stop after so many, late ones included")
    stream.add_argument("--overlap", action="store_true", help="encode the next frame beside the language model")
    stream.add_argument("--strict", action="store_true", help="end at a damaged frame, in place of leaving it out")
    stream.add_argument("--track", action="store_true", help="give what is seen again the same number in all frames")
    stream.add_argument(
        "--save-video", type=file_path, metavar="FILE", help="write the overlays as a video: .mp4, .mov, .mkv or .webm"
    )
    stream.add_argument(
        "--save-bag", type=file_path, metavar="FILE", help="write a bag of ROS 2: .mcap; the same as -o FILE.mcap"
    )
    stream.add_argument(
        "--rerun",
        nargs="?",
        const=SPAWN,
        metavar="WHERE",
        help="show the answers in Rerun: a file .rrd to write, a viewer's host:port, or spawn, which opens one here "
        "(default without WHERE)",
    )
    stream.add_argument(
        "--reconnect",
        type=count,
        metavar="N",
        help="of what is live: attempts in a row to open it again (default: 5; of a FIFO 0, the stream ends)",
    )
    stream.add_argument(
        "--timeout",
        type=_positive,
        metavar="SECONDS",
        help=f"of what is live: how long it may give no frame (default: {Reconnect.timeout:g})",
    )


def check_stream_options(options: argparse.Namespace) -> None:
    """Refuse images beside a source, neither, and options of a source without one.

    Raises:
        InputError: one of these.
    """
    if options.source is None:
        for name in _OF_STREAMS:
            if (value := getattr(options, name)) is not None and value is not False:
                raise InputError(f"--{name.replace('_', '-')} applies to --source; give one, or leave it out")
        if not options.images:
            raise InputError("no image was given; give image files, or a stream with --source")
    elif options.images:
        raise InputError(f"{options.images[0]} and --source were given together; choose one")
    elif not options.source:
        raise InputError("--source is empty; is a variable of the shell not set?")
    elif options.overwrite and not (options.output or options.save_video or options.save_bag or options.rerun):
        raise InputError(
            "--overwrite is for what is written, and --source writes nothing without --output, --save-video, "
            "--save-bag or --rerun; leave it out"
        )
    for written in (options.output, options.save_video, options.save_bag):
        if options.source and written is not None:
            _check_apart(Path(options.source), written)
    if options.rerun is not None:
        check_rerun(options.rerun, options.overwrite)
    for bag in _bags(options):
        _check_bag(bag, options)
    if options.save_video is None:
        return
    check_video(options.save_video)
    if options.save_video.exists() and not options.overwrite:
        raise InputError(f"{options.save_video} already exists; choose another with --save-video, or pass --overwrite")


def _check_apart(source: Path, written: Path) -> None:
    """Raise InputError for an output that is what is read, or a part of it, or holds it."""
    if not written.exists() or not source.exists():
        return
    place, read = written.resolve(), source.resolve()
    if read == place or (read.is_dir() and read == place.parent) or (place.is_dir() and place in read.parents):
        raise InputError(f"{written} is read and would be written; choose another name")


def _bags(options: argparse.Namespace) -> list[Path]:
    """The bags to write."""
    named = [] if options.save_bag is None else [options.save_bag]
    return [options.output, *named] if options.output is not None and is_bag(options.output) else named


def _check_bag(bag: Path, options: argparse.Namespace) -> None:
    if options.source is None:
        raise InputError(f"{bag} is a bag, which is written of --source; give a folder as --output")
    check_bag(bag, options.overwrite)
    if _bags(options).count(bag) > 1:
        raise InputError(f"{bag} was given as --output and --save-bag; leave one out")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def run_stream(options: argparse.Namespace) -> int:
    """Answer frame after frame, and tell at the end what became of them; returns the exit code."""
    with ProgressPrinter(sys.stderr, plain=not options.json, quiet=is_quiet(options)) as progress:
        progress(Step("load"))
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        task = question(options)
        source = open_source(options.source, options.rate, _reconnect(options), options.topic)
        if options.every_frame and not source.live:
            raise InputError(f"--every-frame is of what is live, and {options.source} skips none; leave it out")
        if options.output is not None and not is_bag(options.output):
            check_output(options.output, options.overwrite)
        sinks = _sinks(options)
        running = {"device": options.device, "threads": options.threads, "context": options.context}
        model = load_bundle(options.bundle, progress, verify=options.verify, **running)
    latest = False if options.every_frame else None
    how = {"deadline": options.deadline, "overlap": options.overlap, "strict": options.strict}
    ask = model.track if options.track else model.stream
    stream = ask(source, ask=task.ask, latest=latest, **how)
    total = len(source.paths) if isinstance(source, Folder) else source.count if isinstance(source, Bag) else None
    start = time.perf_counter()
    ages: list[float] = []
    try:
        with ExitStack() as opened:
            for sink in sinks:
                opened.enter_context(closing(sink))
            opened.enter_context(closing(stream))
            while options.max_frames is None or len(ages) < options.max_frames:
                if (seen := next(stream, None)) is None:
                    break
                ages.append(seen.age_ms)
                pictures = [path for sink in sinks for path in sink.write(seen)]
                told = json.dumps(_entry(seen, pictures), allow_nan=False) if options.json else _line(seen, total)
                print(told, flush=True)
    finally:  # a camera ends with Ctrl-C
        reconnects = source.reconnects if isinstance(source, Camera) else 0
        failed = isinstance(sys.exc_info()[1], Exception)  # which is one line by itself
        if not is_quiet(options) and (ages or not failed):
            print(_summary(stream.counts, ages, time.perf_counter() - start, reconnects), file=sys.stderr)
    return 0


def _sinks(options: argparse.Namespace) -> list[FrameSink]:
    """What the options ask to be written."""
    sinks: list[FrameSink] = []
    if options.save_video is not None:
        sinks.append(VideoSink(options.save_video))
    if options.rerun is not None:
        sinks.append(RerunSink(options.rerun))
    sinks += map(BagSink, _bags(options))
    if options.output is not None and not is_bag(options.output):
        sinks.append(PictureSink(options.output))
        if options.track:
            sinks.append(TrackSink(options.output))
    return sinks


def _reconnect(options: argparse.Namespace) -> Reconnect | None:
    """The policy that the options ask for; None where they ask for none."""
    given = {"attempts": options.reconnect, "timeout": options.timeout}
    given = {name: value for name, value in given.items() if value is not None}
    return Reconnect(**given) if given else None


def _entry(seen: FrameResult | Late, pictures: Sequence[Path]) -> dict[str, Any]:
    """What ``--json`` prints of a frame: one result beside its facts, or a list of several."""
    entry: dict[str, Any] = {"index": seen.index, "frame": seen.name, "timestamp": seen.timestamp}
    entry |= {"age_ms": seen.age_ms, "dropped": seen.dropped, "late": seen.late}
    if seen.late:
        return {**entry, "deadline_ms": seen.deadline_ms, "stage": seen.stage}
    overlays: list[str | None] = [str(picture) for picture in pictures]
    overlays = overlays or [None] * len(seen.results)
    results = [{**result.to_json(), "overlay": path} for result, path in zip(seen.results, overlays, strict=True)]
    told = results[0] if len(results) == 1 else {"results": results}
    return {**entry, **told, "timings_ms": dict(seen.timings)}


def _line(seen: FrameResult | Late, total: int | None) -> str:
    """What is printed of a frame, of a folder with which one of its pictures it is."""
    place = "" if total is None else f"{seen.index + 1} of {total}  "
    head = f"{place}{seen.name or seen.index}  {seen.age_ms:.0f} ms old"
    if seen.dropped:
        head += f", {seen.dropped} skipped before"
    if seen.late:
        return f"{head}  late: {seen.stage}"
    return f"{head}  {'; '.join(map(_told, seen.results))}"


def _told(result: Result) -> str:
    segments = ", ".join(map(_shown, result.segments))
    return segments or result.reason or " ".join(result.text.split()) or "nothing was found"


def _shown(segment: Segment) -> str:
    track = "" if segment.track_id is None else f"#{segment.track_id} "
    return f"{track}{segment.label or 'segment'} {segment.score:.2f}"


def _summary(counts: Counts, ages: list[float], seconds: float, reconnects: int) -> str:
    frames = counts.answered + counts.late
    text = f"{frames} frames, {frames / seconds:.1f} a second" if frames else "no frame"
    if ages:
        middle, high = np.percentile(ages, (50, 90))
        text += f", age p50 {middle:.0f} ms, p90 {high:.0f} ms"
    text += f"; {counts.answered} answered, {counts.late} late, {counts.dropped} skipped"
    text += f", {counts.damaged} damaged" if counts.damaged else ""
    return f"{text}, opened again {reconnects} time{'s'[: reconnects != 1]}" if reconnects else text
