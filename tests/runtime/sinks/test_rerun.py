"""What is in the files, as Rerun's own reader has it. The package is not among those that tests are installed with."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.sinks.rerun import RerunSink, check_rerun
from xsam_edge.runtime.stream.answers import FrameResult, Late

START = 1_764_342_671_123_456_789
SIZE = (20, 30)
TIMINGS = {"waiting": 1.5, "llm": 20.0}


def result(*labels: str, task: str = "refseg", caption: str = "") -> Result:
    mask = np.zeros(SIZE, bool)
    mask[2:6, 3:9] = True
    segments = tuple(Segment.from_mask(mask, 0.5, label) for label in labels)
    return Result(task, segments, SIZE, image=Image.new("RGB", SIZE[::-1], (90, 120, 40)), caption=caption)


def answer(index: int, *results: Result, stamp_ns: int | None = START) -> FrameResult:
    stamp = None if stamp_ns is None else stamp_ns + index
    return FrameResult(index, None, None, 30.0, 0, TIMINGS, results, stamp)


def test_places(tmp_path: Path) -> None:
    (tmp_path / "there.rrd").touch()
    (tmp_path / "folder.rrd").mkdir()
    for good in ("spawn", str(tmp_path / "out.rrd"), "10.0.0.7:9876", "[::1]:9876", "rerun+http://cup:1/proxy"):
        check_rerun(good, False)
    check_rerun(str(tmp_path / "there.rrd"), True)
    for wrong, said in {
        str(tmp_path / "there.rrd"): "already exists; choose another with --rerun, or pass --overwrite",
        str(tmp_path / "folder.rrd"): "is a folder",
        str(tmp_path / "none" / "out.rrd"): "is not a folder; make it first",
        "cup": "--rerun is 'cup'; expected a file that ends in .rrd, a viewer's host:port",
        "http://cup:1": "--rerun is 'http://cup:1'",
        "cup:99999": "--rerun is 'cup:99999'",
        "cup:0": "--rerun is 'cup:0'",
        "": "--rerun is ''",
    }.items():
        with pytest.raises(InputError, match=said):
            check_rerun(wrong, False)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(
        BackendError, match=r"rerun-sdk, which cannot be loaded .*; run `pip install 'xsam-edge\[rerun\]'`"
    ):
        RerunSink("spawn")


def chunks(path: Path) -> list[Any]:
    reading = pytest.importorskip("rerun.chunk", reason="reads .rrd files, from rerun-sdk 0.30 on")
    return [chunk for chunk in reading.RrdReader(path).stream() if not chunk.entity_path.startswith("/__")]


def column(path: Path, entity: str, name: str) -> list[Any]:
    batches = [chunk.to_record_batch() for chunk in chunks(path) if chunk.entity_path == entity]
    columns = [batch.column(name) for batch in batches]
    return [value for values in columns for value in (values.cast("int64") if name == "stamp" else values).to_pylist()]


def test_a_file(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    path = tmp_path / "out.rrd"
    path.write_text("an old one")
    sink = RerunSink(str(path))
    assert path.read_text() == "an old one"
    assert sink.write(answer(0, result("cup"), result("fork", "cup"))) == ()
    sink.write(Late(1, None, None, 99.0, 0, 5.0, "answer", START + 1))
    sink.write(answer(2, result()))
    sink.write(answer(3, result("plate", task="gcgseg", caption="a plate")))
    sink.close()
    sink.close()
    rows: dict[str, int] = {}
    for chunk in chunks(path):
        if chunk.is_static:
            assert chunk.entity_path == "/camera"
        else:
            assert set(chunk.timeline_names) >= {"frame", "stamp"}
        rows[chunk.entity_path] = rows.get(chunk.entity_path, 0) + chunk.num_rows
    latency = {"/latency/waiting": 3, "/latency/llm": 3, "/latency/age": 4}
    pictures = {"/camera/image": 3, "/camera/mask": 3, "/camera/boxes": 3}
    assert rows == {**pictures, **latency, "/text": 2, "/camera": 3}
    assert column(path, "/camera/mask", "frame") == [0, 2, 3]
    assert column(path, "/camera/mask", "stamp") == [START, START + 2, START + 3]
    assert column(path, "/camera/boxes", "Boxes2D:class_ids") == [[1, 2, 1], [], [3]]
    assert column(path, "/camera/boxes", "Boxes2D:labels")[0] == ["cup 0.50", "fork 0.50", "cup 0.50"]
    assert column(path, "/camera/boxes", "Boxes2D:centers")[2] == [[6.0, 4.0]]
    assert column(path, "/latency/llm", "Scalars:scalars") == [[20.0]] * 3
    assert column(path, "/latency/age", "Scalars:scalars") == [[30.0], [99.0], [30.0], [30.0]]
    assert column(path, "/text", "TextLog:text") == [["frame 1 was late: answer"], ["a plate"]]
    mask = np.frombuffer(bytes(column(path, "/camera/mask", "SegmentationImage:buffer")[2][0]), np.uint8)
    assert mask.reshape(SIZE)[2:6, 3:9].tolist() == [[3] * 6] * 4 and mask.sum() == 72
    contexts = [entry for entry in column(path, "/camera", "AnnotationContext:context") if entry]
    named = [[kind["class_description"]["info"]["label"] for kind in context[0]] for context in contexts]
    assert named[-1] == ["cup", "fork", "plate"]


@pytest.mark.parametrize(("stamp", "kind"), [(0, "duration"), (START, "timestamp"), (None, "")])
def test_times(stamp: int | None, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    sink = RerunSink(str(tmp_path / "out.rrd"))
    for index in range(2):
        sink.write(answer(index, result("cup"), stamp_ns=stamp))
    sink.close()
    (schema,) = [
        chunk.to_record_batch().schema for chunk in chunks(tmp_path / "out.rrd") if "mask" in chunk.entity_path
    ]
    assert ("stamp" in schema.names) is bool(kind)
    if kind:
        assert kind in str(schema.field("stamp").type)


def test_a_chat_is_words(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    sink = RerunSink(str(tmp_path / "out.rrd"))
    sink.write(answer(0, result(task="chat", caption="Two."), replace(result(task="chat"), image=None)))
    sink.close()
    assert column(tmp_path / "out.rrd", "/text", "TextLog:text") == [["Two."]]
    assert not any(chunk.entity_path.startswith("/camera/mask") for chunk in chunks(tmp_path / "out.rrd"))


def test_a_full_disk_is_told_at_the_end(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    path = tmp_path / "out.rrd"
    sink = RerunSink(str(path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        for index in range(100):
            sink.write(answer(index, result("cup")))
        with pytest.raises(InputError, match=r"out.rrd did not take all answers .* that the disk has room"):
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # What was written before is shown; RrdReader alone refuses a file that was cut off.
    shown = subprocess.run([sys.executable, "-m", "rerun", "rrd", "print", path], capture_output=True, text=True)
    assert " - /latency/age - " in shown.stdout


def test_without_a_viewer_it_ends() -> None:
    pytest.importorskip("rerun")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    start = time.monotonic()
    sink = RerunSink(f"127.0.0.1:{port}")
    sink.write(answer(0, result("cup")))
    with pytest.raises(InputError, match=f"--rerun 127.0.0.1:{port} did not take all answers"):
        sink.close()
    sink.close()
    assert time.monotonic() - start < 60


def test_how_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, ...]] = []

    class Recording:
        def __init__(self, name: str) -> None: ...

        def spawn(self) -> None:
            raise RuntimeError("no\ndisplay")

        def connect_grpc(self, address: str) -> None:
            opened.append((address,))

        def __getattr__(self, name: str) -> Any:
            return lambda *given, **named: None

    names = ("Scalars", "TextLog", "Boxes2D", "SegmentationImage", "AnnotationContext")
    made = {name: lambda *given, **named: None for name in names}
    fake = SimpleNamespace(RecordingStream=Recording, **made)
    monkeypatch.setitem(sys.modules, "rerun", fake)
    seen = answer(0, replace(result("cup"), image=None))
    with pytest.raises(InputError, match=r"--rerun spawn cannot be opened \(no display\)"):
        RerunSink("spawn").write(seen)
    for where in ("cup:9876", "rerun+http://cup:1/proxy"):
        RerunSink(where).write(seen)
    assert opened == [("rerun+http://cup:9876/proxy",), ("rerun+http://cup:1/proxy",)]
