"""The command: what it says, what it refuses, and how signals end it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from xsam_edge.runtime.serve.cli import main, make_limits, parser

COMMAND = "import sys; from xsam_edge.runtime.serve.cli import main; sys.exit(main())"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--host 0.0.0.0", "--host 0.0.0.0 can be reached from other machines"),
        ("--token-file nowhere", "nowhere: No such file"),
        ("--port 65536", "'65536' is no port"),
        ("--cors-origin *", "--cors-origin is '*'"),
        ("--allow-url-prefix cdn.example", "--allow-url-prefix is 'cdn.example'"),
        ("--allow-url-prefix https://cdn.example", "expected http(s)://HOST/"),
        ("--port 0 --host 192.0.2.1 --token-file TOKEN", "cannot listen on 192.0.2.1"),
        ("--port 0", "nowhere"),
        ("--port PORT", "choose another with --host or --port"),
    ],
)
def test_what_is_wrong_is_one_line(line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fastapi")
    token = tmp_path / "token"
    token.write_text("x" * 32)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [word.replace("TOKEN", str(token)).replace("PORT", port) for word in line.split()]
        assert main(["nowhere", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("xsam-serve: error: ") and message in error


def test_limits_are_options() -> None:
    given = (
        "b --max-mb 3 --max-megapixels 2 --max-requests 5 --timeout 7 --max-scenes 9 --scene-seconds 11 --scene-mb 13"
    )
    limits = make_limits(parser().parse_args(given.split()))
    assert (limits.body_bytes, limits.pixels, limits.requests, limits.seconds) == (3 << 20, 2_000_000, 5, 7)
    assert (limits.scenes, limits.scene_seconds, limits.scene_bytes) == (9, 11, 13 << 20)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(sign: signal.Signals, shapes_bundle: Path) -> None:
    pytest.importorskip("fastapi")
    command = [sys.executable, "-c", COMMAND, str(shapes_bundle), "--port", "0", "--verify", "none", "--threads", "1"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as run:
        assert run.stderr is not None
        try:
            line = run.stderr.readline()
            found = re.fullmatch(rf"{shapes_bundle.resolve().name} is served at (http://127\.0\.0\.1:\d+)\n", line)
            assert found, line
            with urllib.request.urlopen(f"{found[1]}/v1/models", timeout=90) as answer:
                assert json.load(answer)["data"][0]["id"] == shapes_bundle.resolve().name
            run.send_signal(sign)
            assert run.wait(90) == 0
            assert run.stderr.read() == ""
        finally:
            run.kill()
