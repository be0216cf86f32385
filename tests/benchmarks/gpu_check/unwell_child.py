"""A child of the check that does what its step is called: stands in for ``gpu_check.child``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from xsam_edge.benchmarks.gpu_check.records import DONE, OUTCOME, Recorder

if __name__ == "__main__":
    name, _, payload, results = sys.argv[1:]
    say = Recorder(Path(results), name)
    say("found", 1.5, "ms")
    match name:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            # What it started must end with it.
            other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            (Path(payload) / "started").write_text(str(other.pid))
            time.sleep(60)
        case "silent":
            sys.exit(7)
        case "fail":
            say(OUTCOME, "failed", note="a reason")
            sys.exit(1)
    say(OUTCOME, DONE)
