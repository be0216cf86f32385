"""A server of the demo model, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.runtime.loaded import load
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene

if TYPE_CHECKING:
    from tests.runtime.serve.served import Client


@pytest.fixture(scope="module")
def model(shapes_bundle: Path) -> XSam:
    return load(shapes_bundle)


@pytest.fixture(scope="module")
def client(model: XSam) -> Iterator[Client]:
    from tests.runtime.serve.served import served  # which needs the extra

    with served(model) as client:
        yield client


@pytest.fixture(scope="module")
def scene(model: XSam) -> Scene:
    from tests.runtime.serve.served import picture

    return model.look(picture())
