"""What HTTP costs: `xsam-serve` under a bounded load on the loopback, against a loop in process.

    python -m xsam_edge.benchmarks.serve_load BUNDLE IMAGE PHRASE [--requests N] [--threads N] [--json]

A server runs in a process of its own; clients ask one question after the other, of which every fourth brings a new
picture. The same questions are asked in a loop in process, replies made to JSON as the server's are. Sides take turns,
so that what else a machine does meets both; what is told are ratios and percentiles of this run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.benchmarks import environment
from xsam_edge.benchmarks.measure import Distribution
from xsam_edge.runtime.cli.common import Parser, command, file_path, positive, threads
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.serve.replies import render

PROGRAM = "python -m xsam_edge.benchmarks.serve_load"
CLIENTS = (1, 4, 16, 64)
TOGETHER = 16  # that ask about one picture
NEW_EVERY = 4  # requests
OVERLOAD = 5  # times as many at once as the server takes
_ROUNDS = 3
_TURN = 10  # questions of a side before the other one's
_BOUNDARY = "xsam-load"
_SERVER = "import sys; from xsam_edge.runtime.serve.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Load:
    """Answers of a round: their statuses (0 for none), milliseconds each took, and seconds of all."""

    statuses: tuple[int, ...]
    times: tuple[float, ...]
    seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.statuses.count(200) / self.seconds


class Pictures:
    """One picture in as many files as are asked for: what stands behind a file's end changes its hash alone."""

    def __init__(self, path: Path) -> None:
        self._content, self._count = path.read_bytes(), itertools.count()

    def new(self) -> bytes:
        """A file that no one has sent."""
        return self._content + b"%d" % next(self._count)


def request(phrase: str, *, image: bytes | None = None, scene: str = "") -> bytes:
    """A request to segment, as bytes."""
    fields = [("prompt", "", phrase.encode()), ("mask_format", "", b"rle")]
    fields.append(("scene", "", scene.encode()) if image is None else ("image", '; filename="a"', image))
    body = b"".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"
        for name, file, value in fields
    )
    body += f"--{_BOUNDARY}--\r\n".encode()
    head = "POST /v1/images/segmentations HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def load(port: int, requests: Sequence[bytes], clients: int) -> Load:
    """Have ``clients`` send the requests, each on a connection that it keeps, one after the other."""
    left = iter(requests)
    statuses: list[int] = []
    times: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for content in left:
            start = time.perf_counter()
            try:
                writer.write(content)
                status, _ = await answer(reader)
            except (OSError, asyncio.IncompleteReadError):
                statuses.append(0)
                return
            statuses.append(status)
            times.append(1e3 * (time.perf_counter() - start))
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(tuple(statuses), tuple(times), time.perf_counter() - start)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of a response."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length[1]) if length else 0)


async def ask(port: int, content: bytes) -> Any:
    """The JSON of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    status, body = await answer(reader)
    writer.close()
    if status != 200:
        raise InputError(f"the server answers {status}: {body.decode(errors='replace')[:300]}")
    return json.loads(body)


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Of all its threads until now; 0 where the system does not say."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def look(self, image: bytes, phrase: str) -> str:
        """The id of a picture's scene."""
        return str(asyncio.run(ask(self.port, request(phrase, image=image)))["scene"])

    def load(self, requests: Sequence[bytes], clients: int) -> Load:
        """The outcome of requests that are all answered with 200.

        Raises:
            InputError: one is not.
        """
        done = asyncio.run(load(self.port, requests, clients))
        if set(done.statuses) != {200}:
            raise InputError(f"not all requests were answered: {Counter(done.statuses)}")
        return done


@contextmanager
def server(bundle: Path, *options: str) -> Iterator[Running]:
    """A server within a block."""
    command_line = [sys.executable, "-c", _SERVER, str(bundle), "--port", "0", "--verify", "none", *options]
    with subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            told = ""
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", told)):
                if not (line := process.stderr.readline()):
                    raise InputError(f"the server did not start: {told.strip()}")
                told = line
            yield Running(int(found[1]), process.pid)
        finally:
            process.terminate()


def in_process(model: XSam, images: Sequence[bytes | None], kept: Scene, phrase: str) -> Load:
    """The requests in a loop: a new picture, or with None a further question about the one that is kept."""
    times: list[float] = []
    began = time.perf_counter()
    for image in images:
        start = time.perf_counter()
        scene = kept if image is None else model.look(image)
        render([scene.refer(phrase)], [phrase], "rle", {})
        if scene is not kept:
            scene.close()
        times.append(1e3 * (time.perf_counter() - start))
    return Load((200,) * len(times), tuple(times), time.perf_counter() - began)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    count, phrase, pictures = options.requests, options.phrase, Pictures(options.image)
    running = ["--threads", str(options.threads)]
    with XSam.load(options.bundle, threads=options.threads, verify="none") as model:
        kept = model.look(options.image)
        kept.refer(phrase)
        with server(options.bundle, *running) as served:
            result: dict[str, Any] = {
                "further_question": _further(model, served, kept, phrase, pictures, count),
                "together": _together(served, kept, phrase, pictures, count),
                "mix": _mixed(model, served, kept, phrase, pictures, count),
            }
    with server(options.bundle, "--max-requests", str(TOGETHER), *running) as served:
        served.look(pictures.new(), phrase)
        many = OVERLOAD * TOGETHER
        sent = [request(phrase, image=pictures.new()) for _ in range(2 * many)]
        statuses = Counter(asyncio.run(load(served.port, sent, many)).statuses)
    result["overload"] = {"clients": many, "taken": TOGETHER, "statuses": dict(sorted(statuses.items()))}
    return result | {"bundle": str(options.bundle), "environment": environment.describe(usable_cores())}


def _further(
    model: XSam, served: Running, kept: Scene, phrase: str, pictures: Pictures, count: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of a further question in both ways, by turns of ten, and those of processors."""
    further = request(phrase, scene=served.look(pictures.new(), phrase))
    times: dict[str, list[float]] = {"in process": [], "served": []}
    cpu = dict.fromkeys(times, 0.0)
    turns = _ROUNDS * max(1, count // _TURN)
    for _ in range(turns):
        start = time.process_time()
        times["in process"] += in_process(model, [None] * _TURN, kept, phrase).times
        cpu["in process"] += time.process_time() - start
        start = served.cpu_seconds()
        times["served"] += served.load([further] * _TURN, 1).times
        cpu["served"] += served.cpu_seconds() - start
    told = {
        name: {"p50_ms": float(np.median(times[name])), "cpu_ms": 1e3 * cpu[name] / (turns * _TURN)} for name in times
    }
    return {**told, "http": {key: told["served"][key] - told["in process"][key] for key in ("p50_ms", "cpu_ms")}}


def _together(served: Running, kept: Scene, phrase: str, pictures: Pictures, count: int) -> dict[str, float]:
    """Answers a second about one picture: of as many clients, and of a batch in process, replies included."""
    further = request(phrase, scene=served.look(pictures.new(), phrase))
    rates: dict[str, list[float]] = {"batch in process": [], "served": []}
    batches = max(2, count // TOGETHER)
    for _ in range(2 * _ROUNDS):
        start = time.perf_counter()
        for _ in range(batches):
            for result in kept.refer([phrase] * TOGETHER):
                render([result], [phrase], "rle", {})
        rates["batch in process"].append(batches * TOGETHER / (time.perf_counter() - start))
        rates["served"].append(served.load([further] * (batches * TOGETHER), TOGETHER).rate)
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    return {**medians, "ratio": medians["served"] / medians["batch in process"]}


def _mixed(
    model: XSam, served: Running, kept: Scene, phrase: str, pictures: Pictures, count: int
) -> dict[str, dict[str, float]]:
    sides: dict[str, list[Load]] = {"in process": [], **{str(clients): [] for clients in CLIENTS}}
    for _ in range(_ROUNDS):
        images = [pictures.new() if index % NEW_EVERY == 0 else None for index in range(count)]
        sides["in process"].append(in_process(model, images, kept, phrase))
        for clients in CLIENTS:
            further = request(phrase, scene=served.look(pictures.new(), phrase))
            requests = [further if image is None else request(phrase, image=pictures.new()) for image in images]
            sides[str(clients)].append(served.load(requests, clients))
    return {
        name: {
            "rate": round(float(np.median([one.rate for one in rounds])), 2),
            **Distribution.of([value for one in rounds for value in one.times]).to_json(),
        }
        for name, rounds in sides.items()
    }


def as_text(result: dict[str, Any]) -> str:
    """The result in lines."""
    lines = [f"{'clients':<11} {'a second':>9} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9}"]
    for name, told in result["mix"].items():
        numbers = " ".join(f"{told[key]:9.1f}" for key in ("rate", "p50_ms", "p95_ms", "p99_ms"))
        lines.append(f"{name:<11} {numbers}")
    one, many, burst = result["further_question"], result["together"], result["overload"]
    for key, what in (("p50_ms", "milliseconds"), ("cpu_ms", "milliseconds of processors")):
        lines.append(
            f"a further question, {what}: {one['served'][key]:.2f} served, {one['in process'][key]:.2f} in process, "
            f"{one['http'][key]:.2f} for HTTP"
        )
    lines.append(
        f"{TOGETHER} clients on one picture: {many['served']:.0f} a second, {many['ratio']:.2f} times "
        f"{many['batch in process']:.0f} of batches of as many in process"
    )
    lines.append(f"{burst['clients']} clients where {burst['taken']} are taken, by status: {burst['statuses']}")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    result = measure(options)
    print(json.dumps(result) if options.json else as_text(result))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    options.add_argument("image", type=file_path, metavar="IMAGE", help="a PNG or JPEG file")
    options.add_argument("phrase", metavar="PHRASE", help="of what is in it")
    options.add_argument("--requests", type=positive, default=128, metavar="N", help="a round (default: %(default)s)")
    options.add_argument("--threads", type=threads, default=0, metavar="N", help="of each side (default: every core)")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
