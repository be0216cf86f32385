from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.loaded import load

pytest.importorskip("fastapi")

from tests.runtime.serve.served import picture, served
from xsam_edge.benchmarks import serve_load
from xsam_edge.benchmarks.serve_load import Pictures, Running, request
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.serve.limits import Limits

PHRASE = "the blue circle"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    path.write_bytes(picture())
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, shapes_bundle: Path) -> None:
    """Servers run in this process, and little is asked."""

    @contextmanager
    def server(_: Path, *options: str) -> Iterator[Running]:
        given = dict(zip(options[::2], options[1::2], strict=True))
        with served(load(shapes_bundle), limits=Limits(requests=int(given.get("--max-requests", 64)))) as client:
            yield Running(client.port, os.getpid())

    monkeypatch.setattr(serve_load, "server", server)
    monkeypatch.setattr(serve_load, "_ROUNDS", 1)
    monkeypatch.setattr(serve_load, "CLIENTS", (1, 3))


def test_sides_are_compared(here: None, shapes_bundle: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [str(shapes_bundle), str(image), PHRASE, "--requests", "8", "--threads", "1"]
    assert serve_load.main([*options, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["mix"].keys() == {"in process", "1", "3"} and {side["n"] for side in result["mix"].values()} == {8}
    together = result["together"]
    assert together["ratio"] == pytest.approx(together["served"] / together["batch in process"])
    further = result["further_question"]
    assert further["http"]["cpu_ms"] == pytest.approx(further["served"]["cpu_ms"] - further["in process"]["cpu_ms"])
    statuses = result["overload"]["statuses"]
    assert statuses.keys() == {"200", "429"} and sum(statuses.values()) == 2 * 5 * 16  # none is lost
    text = serve_load.as_text(result)
    assert "for HTTP" in text and text.splitlines()[-1].startswith("80 clients where 16 are taken, by status: ")


def test_each_file_is_a_new_picture(image: Path) -> None:
    pictures = Pictures(image)
    assert len({pictures.new() for _ in range(20)}) == 20


def test_what_is_not_answered_is_no_measurement(shapes_bundle: Path) -> None:
    with served(load(shapes_bundle)) as client:
        running = Running(client.port, os.getpid())
        with pytest.raises(InputError, match="not all requests were answered"):
            running.load([request(PHRASE, scene="none")], 1)
        with pytest.raises(InputError, match="the server answers 404"):
            asyncio.run(serve_load.ask(client.port, request(PHRASE, scene="none")))
        assert running.cpu_seconds() > 0
