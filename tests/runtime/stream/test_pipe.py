import os
import threading
import time
from pathlib import Path

import pytest

from xsam_edge.runtime.stream.pipe import Pipe


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def test_a_writer_that_comes_later_pauses_and_goes(fifo: str) -> None:
    pipe = Pipe(fifo, threading.Event())

    def write() -> None:
        time.sleep(0.1)
        with open(fifo, "wb", buffering=0) as target:
            target.write(b"abc")
            time.sleep(0.1)
            target.write(b"de")

    writer = threading.Thread(target=write)
    writer.start()
    assert [pipe.read(10) for _ in range(4)] == [b"abc", b"de", b"", b""]
    writer.join()
    pipe.close()
    with pytest.raises(OSError):  # noqa: PT011
        os.fstat(pipe.fileno)


def test_a_wait_for_a_writer_ends_when_stopped(fifo: str) -> None:
    stopped = threading.Event()
    pipe = Pipe(fifo, stopped)
    threading.Timer(0.05, stopped.set).start()
    start = time.monotonic()
    assert pipe.read(10) == b""
    assert time.monotonic() - start < 5
    pipe.close()


def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(None, threading.Event())
    assert pipe.fileno == 0
    monkeypatch.setattr(os, "close", lambda _: pytest.fail("closed"))
    pipe.close()
