import os
import threading
import time
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_edge.calibration.shapes.dataset import ShapesData
from xsam_edge.runtime.bundle.contract import MASK_DECODER
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.stream import stages as module
from xsam_edge.runtime.stream.answers import FrameResult
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.sources import Folder
from xsam_edge.runtime.stream.tracked import TrackedFrame
from xsam_edge.runtime.tracking.options import TrackerOptions

PHRASE = "the largest shape"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for picture in ShapesData(size=120).pictures(("refer",), 3):
        picture.image().save(folder / f"{picture.name}.png")
    return folder


@pytest.fixture(scope="module")
def model(shapes_bundle: Path) -> XSam:
    return XSam.load(shapes_bundle, threads=2, verify="none")


@pytest.mark.parametrize("options", [{}, {"overlap": True}, {"deadline": 60_000}])
def test_a_frame_gives_what_its_image_gives(model: XSam, scenes: Path, options: dict[str, Any]) -> None:
    expected = [model.look(path).refer(PHRASE) for path in Folder(scenes).paths]
    seen = list(model.stream(scenes, refer=PHRASE, **options))
    assert [item.result for item in seen] == expected
    assert [item.name for item in seen] == [path.name for path in Folder(scenes).paths]
    stages = {"waiting", "preprocess", "image_encoder", "llm", "mask_decoder", "postprocess"}
    assert all(set(item.timings) >= stages for item in seen)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("xsam-")]


def test_several_phrases(model: XSam, scenes: Path) -> None:
    frames = [np.asarray(Image.open(path)) for path in Folder(scenes).paths]
    phrases = [PHRASE, "the smallest shape"]
    for frame, item in zip(frames, model.stream(frames, refer=phrases), strict=True):
        scene = model.look(frame)
        assert list(item.results) == scene.refer(phrases)
        assert item.result == item.results[0]


def test_any_question(model: XSam, scenes: Path) -> None:
    stream = model.stream(
        ((0.5, path) for path in Folder(scenes).paths[:1]), ask=lambda scene: scene.categories(["star"])
    )
    (item,) = stream
    assert item.timestamp == 0.5
    assert item.result == model.look(Folder(scenes).paths[0]).categories(["star"])


def test_scenes_are_closed(model: XSam, scenes: Path) -> None:
    asked = []

    def ask(scene: Any) -> Any:
        asked.append(scene)
        return scene.refer(PHRASE, answer="append")

    list(model.stream(scenes, ask=ask))
    assert len(asked) == 3
    for scene in asked:
        with pytest.raises(InputError, match="closed"):
            _ = scene.features


def test_a_slow_stage_is_late(model: XSam, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def __init__(self, graph: Any) -> None:
            self.graph, self.runs = graph, 0

        def run(self, *buffers: Any) -> None:
            self.runs += 1
            time.sleep(1.6 if self.runs == 2 else 0)
            self.graph.run(*buffers)

    list(model.stream(scenes, refer=PHRASE))  # the graphs are slow the first time
    expected = model.look(Folder(scenes).paths[0]).refer(PHRASE)
    graphs = model.pipeline._graphs
    monkeypatch.setitem(graphs, MASK_DECODER, Slow(graphs[MASK_DECODER]))
    first, second, third = model.stream(scenes, refer=PHRASE, deadline=800)
    assert first.result == expected
    assert second.late
    assert second.stage == "answer"
    assert 800 <= second.age_ms < 1200
    assert third.index == 2


def test_broken_images_are_left_out(
    model: XSam, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Folder(scenes).paths[0].read_bytes()
    for number in (2, 4, 5):
        (tmp_path / f"{number}.png").write_bytes(whole)
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    for options in ({}, {"overlap": True}, {"deadline": 60_000}):
        stream = model.stream(tmp_path, refer=PHRASE, **options)
        assert [(item.name, item.dropped) for item in stream] == [("2.png", 0), ("4.png", 0), ("5.png", 0)]
        assert (stream.counts.answered, stream.counts.damaged, stream.counts.dropped) == (3, 2, 0)
    assert "frame 3.png is left out: " in caplog.text


def test_nothing_but_broken_images_is_an_error(model: XSam, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.png is empty"):
        next(model.stream(tmp_path, refer=PHRASE))


def test_what_is_no_image_is_no_damage(model: XSam, scenes: Path) -> None:
    """An array of another type is a mistake of the program, of which it hears."""
    image = np.asarray(Image.open(Folder(scenes).paths[0]))
    stream = model.stream([image, image / 255], refer=PHRASE)
    assert next(stream).index == 0
    with pytest.raises(InputError, match="must be uint8"):
        next(stream)


def test_blue_first(model: XSam, scenes: Path) -> None:
    image = np.asarray(Image.open(Folder(scenes).paths[0]).convert("RGB"))
    expected = model.look(image).refer(PHRASE)
    (item,) = model.stream([image[..., ::-1]], refer=PHRASE, bgr=True)
    assert item.result == expected == model.look(image[..., ::-1], bgr=True).refer(PHRASE)
    with pytest.raises(InputError, match="bgr is of arrays, and addresses give none"):
        model.stream(scenes, refer=PHRASE, bgr=True)


def test_a_broken_image_ends_a_strict_stream(model: XSam, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(Folder(scenes).paths[0].read_bytes())
    (tmp_path / "2.png").write_bytes(b"")
    stream = model.stream(tmp_path, refer=PHRASE, strict=True)
    assert next(stream).name == "1.png"
    with pytest.raises(InputError, match=r"2\.png is empty"):
        next(stream)


def test_addresses_are_taken_as_they_are(model: XSam, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def open_source(address: str, **_: Any) -> list[Any]:
        opened.append(address)
        return []

    monkeypatch.setattr(module, "open_source", open_source)
    addresses = ("rtsp://10.0.0.7/live", "videotestsrc ! appsink location=a//b", Path("scenes"), "-")
    for address in addresses:
        model.stream(address, refer=PHRASE)
    assert opened == [*map(str, addresses)]


def test_one_question(model: XSam, scenes: Path) -> None:
    with pytest.raises(InputError, match="either refer or ask"):
        model.stream(scenes)
    with pytest.raises(InputError, match="either refer or ask"):
        model.stream(scenes, refer="a", ask=lambda scene: scene.refer("a"))
    with pytest.raises(InputError, match="no result"):
        next(model.stream(scenes, ask=lambda scene: []))


def test_how_long_a_live_source_may_be_silent(model: XSam, tmp_path: Path, scenes: Path) -> None:
    pytest.importorskip("av")
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    patience = Reconnect(timeout=0.2)
    with pytest.raises(InputError, match=r"camera gave no frame within its timeout of 0\.2 s"):
        next(model.stream(fifo, refer=PHRASE, reconnect=patience))
    for frames in ([], scenes):
        with pytest.raises(InputError):
            model.stream(frames, refer=PHRASE, reconnect=patience)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"latest": False}, {"latest": True}, {"latest": False, "deadline": 50}])
def test_ten_thousand_frames_leak_nothing(model: XSam, scenes: Path, options: dict[str, Any]) -> None:
    images = [np.asarray(Image.open(path)) for path in Folder(scenes).paths]

    def camera() -> Any:
        for number in range(10_000):
            yield images[number % len(images)]
            if options["latest"]:
                time.sleep(0.005)

    sizes = []
    stream = model.stream(camera(), ask=lambda scene: scene.refer(PHRASE, answer="append"), **options)
    for number, _ in enumerate(stream):
        if number % 250 == 0:
            sizes.append(resident())
            assert len(threading.enumerate()) < 8
    assert max(sizes[len(sizes) // 2 :]) - min(sizes[1 : len(sizes) // 2]) < 20e6, sizes


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_tracked_stream_is_a_stream_with_identities(model: XSam, scenes: Path) -> None:
    path = Folder(scenes).paths[0]

    def ask(scene: Any) -> Any:
        return scene.categories(["circle", "square", "triangle", "star", "cross"])

    plain = list(model.stream([path] * 3, ask=ask))
    tracked = list(model.track([path] * 3, ask=ask))
    for expected, item in zip(plain, tracked, strict=True):
        assert isinstance(item, TrackedFrame) and isinstance(item, FrameResult)
        assert item.ids == (tuple(range(1, len(item.result) + 1)),)
        assert item.result.tracked([None] * len(item.result)) == expected.result
        assert (item.index, item.name, item.dropped) == (expected.index, expected.name, expected.dropped)
        assert set(item.timings) == {*expected.timings, "tracking"}
        assert [track.state for track in item.tracks] == ["seen"] * len(item.result)
    nothing = TrackerOptions(begin=1.0)
    assert [item.ids for item in model.track([path], ask=ask, tracker=nothing)] == [((None,) * len(plain[0].result),)]
    with pytest.raises(InputError, match=r"tracker is 0\.5; expected TrackerOptions"):
        model.track([path], ask=ask, tracker=0.5)  # type: ignore[arg-type]


def test_track_takes_what_stream_takes() -> None:
    stream, track = (dict(signature(method).parameters) for method in (XSam.stream, XSam.track))
    del track["tracker"]
    assert track == stream
