import sys
import threading
from collections.abc import Iterator

import pytest

from tests.runtime.stream.live import OPENCV, Capture


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Capture]]:
    """A camera library without cameras, and no other."""
    monkeypatch.setitem(sys.modules, "cv2", OPENCV)
    monkeypatch.setitem(sys.modules, "av", None)
    for name, value in (("visits", []), ("opened", []), ("released", 0), ("free", threading.Event())):
        monkeypatch.setattr(Capture, name, value)
    yield Capture
    Capture.free.set()
