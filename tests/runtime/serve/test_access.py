from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.serve.access import host_name, is_loopback, make_access

TOKEN = "0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


def test_a_token_is_needed_off_the_loopback(file: Path) -> None:
    assert make_access("127.0.0.1", None, (), ()).token is None
    for host in ("0.0.0.0", "::", "192.168.1.5", "robot.local", ""):
        with pytest.raises(InputError, match="--token-file"):
            make_access(host, None, (), ())
        assert make_access(host, file, (), ()).token == TOKEN


def test_hosts(file: Path) -> None:
    local = make_access("127.0.0.2", None, ("robot.local:8000",), ())
    assert {"localhost", "127.0.0.1", "::1", "127.0.0.2", "robot.local"} == set(local.hosts)
    assert make_access("0.0.0.0", file, (), ()).hosts == ()
    make_access("0.0.0.0", file, (), ()).check_host("anything")
    assert make_access("0.0.0.0", file, ("robot.local",), ()).hosts == ("robot.local",)


def test_names_of_hosts() -> None:
    names = {"A.b:80": "a.b", "[::1]:80": "::1", "[::1]": "::1", "a": "a", "": "", "::1": "::1"}
    assert {host: host_name(host) for host in names} == names
    loopback = {"127.0.0.1": True, "127.9.9.9": True, "::1": True, "localhost": True, "0.0.0.0": False, "a": False}
    assert {host: is_loopback(host) for host in loopback} == loopback


@pytest.mark.parametrize("content", [b"", b"short", b"0123456789 abcdef", "0123456789abcdefü".encode(), b"\xff" * 20])
def test_a_token_that_is_none(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InputError, match="holds no token of 16 or more"):
        make_access("0.0.0.0", file, (), ())


@pytest.mark.parametrize("origin", ["*", "example.org", "https://example.org/", "ftp://example.org", "https://"])
def test_an_origin_that_is_none(origin: str) -> None:
    with pytest.raises(InputError, match="expected a scheme and a host"):
        make_access("127.0.0.1", None, (), (origin,))
