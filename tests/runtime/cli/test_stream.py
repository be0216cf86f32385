import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.runtime.stream.live import SECRETS, MotionJpeg
from xsam_edge.calibration.shapes.dataset import ShapesData
from xsam_edge.runtime.cli.segment import main
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.stream.sources import Video


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("scenes")
    for picture in ShapesData(size=120).pictures(("refer",), 3):
        picture.image().save(folder / f"{picture.name}.png")
    return str(folder)


def test_a_folder(shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = ["--refer", "the largest shape", "--threshold", "official"]
    arguments = ["--source", scenes, *asked, "--json", "-o", str(out)]
    assert main([str(shapes_bundle), *arguments]) == 0
    output = capsys.readouterr()
    entries = [json.loads(line) for line in output.out.splitlines()]
    names = sorted(path.name for path in Path(scenes).iterdir())
    assert [(entry["index"], entry["frame"], entry["late"]) for entry in entries] == [
        (number, name, False) for number, name in enumerate(names)
    ]
    assert all(entry["segments"][0]["mask"] for entry in entries)
    assert all({"waiting", "image_encoder", "llm"} <= set(entry["timings_ms"]) for entry in entries)
    for entry in entries:
        assert Image.open(entry["overlay"]).size == (120, 120)
    assert len(list(out.iterdir())) == 3
    assert output.err.startswith("3 frames, ")
    assert output.err.endswith("3 answered, 0 late, 0 skipped\n")


def test_lines(
    shapes_bundle: Path,
    scenes: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--source", scenes, "--refer", "the largest shape", "--max-frames", "2"]
    assert main([str(shapes_bundle), *arguments, "--threshold", "official"]) == 0
    output = capsys.readouterr()
    assert output.out.count("\n") == output.out.count("the largest shape") == 2
    assert [line.partition("  ")[0] for line in output.out.splitlines()] == ["1 of 3", "2 of 3"]
    assert "2 answered" in output.err
    assert main([str(shapes_bundle), *arguments, "--threshold", "1"]) == 0
    assert capsys.readouterr().out.count("the best mask scores") == 2
    assert list(tmp_path.iterdir()) == [], "without --output nothing is written"


def test_tracks(shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip").mkdir()
    first = sorted(Path(scenes).iterdir())[0].read_bytes()
    for number in range(3):  # a camera that does not move
        (tmp_path / "clip" / f"{number}.png").write_bytes(first)
    out, shapes = tmp_path / "out", "circle,square,triangle,star,cross"
    arguments = [str(shapes_bundle), "--source", str(tmp_path / "clip"), "--things", shapes, "-o", str(out)]
    assert main([*arguments, "--track", "--json"]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ids = [[segment["track_id"] for segment in entry["segments"]] for entry in entries]
    assert ids[0] == ids[1] == ids[2] == list(range(1, len(ids[0]) + 1))
    tracks = json.loads((out / "tracks.json").read_text())
    assert [track["track_id"] for track in tracks] == ids[0]
    for place, track in enumerate(tracks):
        assert track["segmentations"] == [entry["segments"][place]["mask"] for entry in entries]
    assert main([*arguments, "--track", "--overwrite", "--max-frames", "1"]) == 0
    assert " ms old  #1 " in capsys.readouterr().out
    assert len(json.loads((out / "tracks.json").read_text())[0]["segmentations"]) == 1
    assert main([*arguments, "--overwrite", "--max-frames", "1"]) == 0
    assert "#" not in capsys.readouterr().out
    assert [path.name for path in out.iterdir()] == ["000000.jpg"], "tracks of an earlier run are removed"


def test_tracks_are_written_when_interrupted(
    shapes_bundle: Path, scenes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    refer = Scene.refer

    def interrupted(self: Scene, *given: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise KeyboardInterrupt
        return refer(self, *given, **options)

    monkeypatch.setattr(Scene, "refer", interrupted)
    asking = ["--refer", "the largest shape", "--threshold", "official", "--track", "-o", str(tmp_path / "out")]
    assert main([str(shapes_bundle), "--source", scenes, *asking]) == 130
    (track, *_) = json.loads((tmp_path / "out" / "tracks.json").read_text())
    assert len(track["segmentations"]) == 2


def test_quiet_and_verbose(shapes_bundle: Path, scenes: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(shapes_bundle), "--source", scenes, "--refer", "a star", "--max-frames", "1"]
    assert main([*arguments, "--quiet"]) == 0
    output = capsys.readouterr()
    assert output.out.count("\n") == 1 and output.err == ""
    assert main([*arguments, "--verbose"]) == 0
    assert f"was loaded from {shapes_bundle} on " in capsys.readouterr().err
    assert main([*arguments, "--quiet", "--verbose"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_several_phrases(shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = ["--refer", "the largest shape", "--refer", "the smallest shape", "--threshold", "official"]
    arguments = [str(shapes_bundle), "--source", scenes, *asked, "--max-frames", "1", "-o", str(out)]
    assert main([*arguments, "--json"]) == 0
    (entry,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(result["overlay"]).name for result in entry["results"]] == ["000000-1.jpg", "000000-2.jpg"]
    labels = [result["segments"][0]["label"] for result in entry["results"]]
    assert labels == ["the largest shape", "the smallest shape"]
    assert main([*arguments, "--overwrite"]) == 0
    line = capsys.readouterr().out
    assert all(label in line for label in labels) and line.count("\n") == 1


def test_a_second_run_leaves_nothing_of_the_first(
    shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames in which nothing is found are written, too."""
    out = tmp_path / "out"
    arguments = [str(shapes_bundle), "--source", scenes, "--refer", "the largest shape", "-o", str(out)]
    assert main([*arguments, "--threshold", "1"]) == 0
    assert [path.name for path in sorted(out.iterdir())] == ["000000.jpg", "000001.jpg", "000002.jpg"]
    assert main([*arguments, "--overwrite", "--max-frames", "1", "--json"]) == 0
    assert [path.name for path in out.iterdir()] == ["000000.jpg"]


def test_a_video(shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    video = tmp_path / "out.mp4"
    asked = ["--refer", "the largest shape", "--refer", "a star", "--rate", "20", "--every-frame"]
    arguments = [str(shapes_bundle), "--source", scenes, *asked, "--save-video", str(video)]
    assert main(arguments) == 0
    frames = list(Video(video))
    assert [frame.image.size for frame in frames] == [(120, 120)] * 3
    assert [frame.timestamp for frame in frames] == pytest.approx([0, 0.05, 0.1], abs=0.002)
    capsys.readouterr()
    assert main(arguments) == 2
    assert "out.mp4 already exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--max-frames", "1"]) == 0
    assert len(list(Video(video))) == 1
    assert list(tmp_path.iterdir()) == [video]


def test_late_frames(
    shapes_bundle: Path, scenes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refer = Scene.refer

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return refer(*arguments, **options)

    monkeypatch.setattr(Scene, "refer", slow)
    arguments = [str(shapes_bundle), "--source", scenes, "--refer", "the largest shape", "--deadline", "50"]
    assert main([*arguments, "--json"]) == 0
    output = capsys.readouterr()
    entries = [json.loads(line) for line in output.out.splitlines()]
    assert [entry["late"] for entry in entries] == [True] * 3
    assert {entry["deadline_ms"] for entry in entries} == {50.0}
    assert all("segments" not in entry for entry in entries)
    assert "0 answered, 3 late" in output.err
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("late: ") == 3


def test_a_rate_skips_unless_every_frame_is_wanted(
    shapes_bundle: Path, scenes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refer = Scene.refer

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.2)
        return refer(*arguments, **options)

    monkeypatch.setattr(Scene, "refer", slow)
    arguments = [str(shapes_bundle), "--source", scenes, "--refer", "the largest shape", "--rate", "1000"]
    assert main(arguments) == 0
    assert "0 skipped" not in capsys.readouterr().err
    assert main([*arguments, "--every-frame"]) == 0
    assert "3 answered, 0 late, 0 skipped" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_stream_that_stops_and_comes_back(
    form: list[str],
    shapes_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("av")
    for name in ("OPENCV_LOG_LEVEL", "OPENCV_FFMPEG_LOGLEVEL"):
        monkeypatch.setenv(name, "of the user")  # what the command sets is undone with it
    out = str(tmp_path / "out")
    with MotionJpeg([10, 10]).running() as url:
        arguments = [str(shapes_bundle), "--source", url, "--refer", "the largest shape", "--every-frame", "-o", out]
        assert main([*arguments, "--reconnect", "1", "--timeout", "30", *form]) == 2
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 20
    assert "frame-000019" in output.out
    summary, error = output.err.splitlines()[-2:]
    assert summary.endswith("20 answered, 0 late, 0 skipped, opened again 1 time")
    assert error.startswith("xsam-segment: error: http://***@127.0.0.1:")
    assert "even in 1 attempt to open it again" in error
    assert "attempt 1 of 1" in caplog.text
    assert not any(secret in output.out + output.err + caplog.text for secret in SECRETS)


def test_an_interrupt_still_sums_up(
    shapes_bundle: Path, scenes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Scene, "refer", interrupted)
    assert main([str(shapes_bundle), "--source", scenes, "--refer", "a star"]) == 130
    assert "no frame; 0 answered" in capsys.readouterr().err


def test_a_broken_frame_among_others(
    shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0.png").write_bytes(next(Path(scenes).iterdir()).read_bytes())
    (tmp_path / "1.png").write_bytes(b"")
    arguments = [str(shapes_bundle), "--source", str(tmp_path), "--refer", "a star"]
    assert main(arguments) == 0
    assert "1 answered, 0 late, 0 skipped, 1 damaged\n" in capsys.readouterr().err
    assert main([*arguments, "--strict"]) == 2
    assert "1.png is empty" in capsys.readouterr().err


def test_a_broken_frame(shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0.png").write_bytes(b"")
    assert main([str(shapes_bundle), "--source", str(tmp_path), "--refer", "a star"]) == 2
    assert "0.png is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["IMAGE", "--refer", "a", "--source", "."], "--source were given together"),
        (["--refer", "a"], "no image was given"),
        (["IMAGE", "--refer", "a", "--deadline", "5"], "--deadline applies to --source"),
        (["IMAGE", "--refer", "a", "--every-frame"], "--every-frame applies to --source"),
        (["IMAGE", "--refer", "a", "--max-frames", "1"], "--max-frames applies to --source"),
        (["--refer", "a", "--source", ".", "--max-frames", "0"], "'0' is not a whole number from 1 on"),
        (["--refer", "a", "--source", ""], "--source is empty"),
        (["--refer", "a", "--source", ".", "--overwrite"], "--source writes nothing without --output"),
        (["IMAGE", "--refer", "a", "--save-video", "out.mp4"], "--save-video applies to --source"),
        (["--refer", "a", "--source", "/dev/null", "--save-video", "out.gif"], "no name of a video"),
        (["--chat", "a", "--source", ".", "--save-video", "out.mp4"], "--save-video does not apply to chat"),
        (["IMAGE", "--refer", "a", "--track"], "--track applies to --source"),
        (["--chat", "a", "--source", ".", "--track"], "--track does not apply to chat"),
        (["IMAGE", "--refer", "a", "--reconnect", "0"], "--reconnect applies to --source"),
        (["IMAGE", "--refer", "a", "--timeout", "5"], "--timeout applies to --source"),
        (["--refer", "a", "--source", "0", "--timeout", "0"], "not a number above 0"),
        (["--refer", "a", "--source", "-", "--reconnect", "1"], "standard input cannot be opened again"),
        (["--refer", "a", "--source", ".", "--timeout", "5"], "is a folder, which is read once"),
        (["--refer", "a", "--source", "/dev/null", "--rate", "5"], "/dev/null is live"),
        (["--refer", "a", "--source", "nosuch"], "nosuch does not exist"),
        (["--refer", "a", "--source", ".", "--deadline", "0"], "not a number above 0"),
        (["--source", "."], "no task was given"),
    ],
)
def test_refusals(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("xsam-segment: error:") == 1


def test_an_image_may_stand_behind_the_task(
    shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(next(Path(scenes).iterdir()))
    assert main([str(shapes_bundle), "--refer", "a star", image, "-o", str(tmp_path / "out")]) == 0
    assert "written to" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["folder", "picture", "video"])
def test_what_is_read_is_not_overwritten(
    kind: str, shapes_bundle: Path, scenes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [str(shapes_bundle), "--source", scenes, "--refer", "a star", "-o", str(tmp_path / "out")]
    assert main([*first, "--quiet"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    source = tmp_path / "out" / ("" if kind == "folder" else "000000.jpg")
    written = ["--save-video", str(tmp_path / "clip.mp4")] if kind == "video" else ["-o", str(tmp_path / "out")]
    if kind == "video":
        source = tmp_path / "clip.mp4"
        source.write_bytes(b"a film")
    capsys.readouterr()
    assert main([str(shapes_bundle), "--source", str(source), "--refer", "a star", *written, "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert "is read and would be written; choose another name" in error
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_source_that_gives_nothing_leaves_nothing(
    shapes_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film")
    out = tmp_path / "out"
    asked = ["--source", str(tmp_path / "film.mp4"), "--refer", "a star", "--track", "-o", str(out)]
    assert main([str(shapes_bundle), *asked]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()
