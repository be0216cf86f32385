from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.scripted import Model
from xsam_edge.calibration.cli import evaluate
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.results.result import Result


@pytest.fixture
def scripted(phi3_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Model]]:
    """Lets the bundles that the command loads answer as given, one after the other."""

    def script(*replies: Callable[[str, tuple[Any, ...]], Result]) -> list[Model]:
        models = []
        for reply in replies:
            model: Any = Model(reply)
            model.manifest = read_manifest(phi3_bundle)
            model.pipeline = SimpleNamespace(backend=SimpleNamespace(name="scripted"))
            models.append(model)
        left = iter(models)
        monkeypatch.setattr(evaluate, "load_bundle", lambda *_, **__: next(left))
        return models

    return script
