"""``xsam-serve``: a bundle behind HTTP, with a page to ask it on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xsam_edge.runtime.cli.common import (
    Parser,
    add_running_options,
    command,
    file_path,
    load_bundle,
    package_version,
    positive,
)
from xsam_edge.runtime.cli.messages import add_message_options, is_quiet
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Step
from xsam_edge.runtime.serve.access import make_access
from xsam_edge.runtime.serve.limits import Limits

PROGRAM = "xsam-serve"
_MEGA = 1_000_000
_DEFAULT = Limits()
_EXAMPLES = """\
examples:
  xsam-serve bundle                                        # then open http://127.0.0.1:8000
  xsam-serve bundle --host 0.0.0.0 --token-file token.txt
  curl -F image=@street.jpg -F "prompt=the man ironing" http://127.0.0.1:8000/v1/images/segmentations

exit codes: 0 ended by a signal; 2 the input is wrong.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(
        PROGRAM,
        usage=f"{PROGRAM} BUNDLE [options]",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("bundle", type=file_path, metavar="BUNDLE", help="folder that xsam-export wrote")
    reached = options.add_argument_group("who may ask")
    reached.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    reached.add_argument("--port", type=_port, default=8000, help="0 chooses a free one (default: %(default)s)")
    reached.add_argument(
        "--token-file", type=file_path, metavar="FILE", help="a file with the token that clients have to send"
    )
    reached.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a further name of this server; repeatable"
    )
    reached.add_argument(
        "--cors-origin", action="append", default=[], metavar="ORIGIN", help="a site whose pages may ask; repeatable"
    )
    reached.add_argument(
        "--allow-url-prefix",
        action="append",
        default=[],
        metavar="URL",
        help="pictures may be URLs below this one, which the server fetches; repeatable (default: none may)",
    )
    taken = options.add_argument_group("what is taken and kept")
    taken.add_argument("--name", help="the model's name for clients (default: that of the bundle's folder)")
    taken.add_argument(
        "--max-mb", type=positive, default=_DEFAULT.body_bytes >> 20, metavar="N", help="MiB of a request"
    )
    taken.add_argument(
        "--max-megapixels", type=positive, default=_DEFAULT.pixels // _MEGA, metavar="N", help="of a picture"
    )
    taken.add_argument(
        "--max-requests", type=positive, default=_DEFAULT.requests, metavar="N", help="at one time; one more gets 429"
    )
    taken.add_argument(
        "--timeout", type=positive, default=int(_DEFAULT.seconds), metavar="SECONDS", help="of a request"
    )
    taken.add_argument("--max-scenes", type=positive, default=_DEFAULT.scenes, metavar="N", help="pictures kept")
    taken.add_argument(
        "--scene-seconds",
        type=positive,
        default=int(_DEFAULT.scene_seconds),
        metavar="N",
        help="after the last question about a picture",
    )
    taken.add_argument(
        "--scene-mb",
        type=positive,
        default=_DEFAULT.scene_bytes >> 20,
        metavar="N",
        help="MiB of kept pictures, and as much again of their features",
    )
    taken.add_argument(
        "--shutdown-seconds",
        type=positive,
        default=int(_DEFAULT.shutdown_seconds),
        metavar="N",
        help="for requests that run when a signal ends the server",
    )
    add_message_options(options.add_argument_group("output"))
    add_running_options(options)
    options.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes; returns the exit code."""
    from xsam_edge.runtime.serve import server
    from xsam_edge.runtime.serve.app import make_app

    access = make_access(options.host, options.token_file, options.allow_host, options.cors_origin)
    for prefix in options.allow_url_prefix:
        if not prefix.startswith(("http://", "https://")) or prefix.count("/") < 3:
            raise InputError(f"--allow-url-prefix is {prefix!r}; expected http(s)://HOST/ and a path, if any")
    limits = make_limits(options)
    # Before the model is loaded, so that a port that is taken is told at once.
    with server.listen(options.host, options.port) as listening:
        model = _load(options, limits)
        name = options.name or options.bundle.resolve().name
        app = make_app(model, name, access, limits, options.allow_url_prefix, package_version())
        if not is_quiet(options):
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"{name} is served at http://{shown}:{port}", file=sys.stderr, flush=True)
        server.run(server.make_server(app, options.host, options.port, limits), listening)
        if app.state.service.worker.ended:  # closing waits for a question that took longer than the end may
            model.close()
    return 0


def _load(options: argparse.Namespace, limits: Limits) -> XSam:
    with ProgressPrinter(sys.stderr, quiet=is_quiet(options)) as progress:
        progress(Step("load"))
        return load_bundle(
            options.bundle,
            progress,
            verify=options.verify,
            device=options.device,
            threads=options.threads,
            context=options.context,
            scene_bytes=limits.scene_bytes,
        )


def make_limits(options: argparse.Namespace) -> Limits:
    """The limits that the options ask for."""
    return Limits(
        body_bytes=options.max_mb << 20,
        pixels=options.max_megapixels * _MEGA,
        requests=options.max_requests,
        seconds=options.timeout,
        scenes=options.max_scenes,
        scene_seconds=options.scene_seconds,
        scene_bytes=options.scene_mb << 20,
        shutdown_seconds=options.shutdown_seconds,
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)
