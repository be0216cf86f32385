"""The backend on stand-ins of CUDA and TensorRT, and a model on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.backends.tensorrt.fake_tensorrt import engine_bundle, fake_backend
from xsam_edge.runtime.model import XSam


@pytest.fixture(scope="session")
def engine_folder(phi3_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine_bundle(phi3_bundle, tmp_path_factory.mktemp("engines") / "bundle")


@pytest.fixture
def backend(engine_folder: Path) -> Any:
    return fake_backend(engine_folder)


@pytest.fixture
def model(engine_folder: Path, backend: Any) -> XSam:
    return XSam.load(engine_folder, backend=backend)
