"""``model.py`` of a repository, with a stand-in of Triton's module; ``make test-triton`` runs it in a server."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.triton.stand_in import Request, TritonModelException, parameters, utils
from tests.recorded import DATA
from tests.runtime.triton.client import Array, texts
from xsam_edge.export.cli import main

IMAGE = texts((DATA / "golden-phi3" / "image.png").read_bytes())
REFER: dict[str, Array] = {"TASK": texts("refer"), "IMAGE": IMAGE, "PROMPTS": texts("the blue circle")}


def arguments(repository: Path, kind: str = "CPU", device: str = "0") -> dict[str, str]:
    config = {"parameters": {name: {"string_value": value} for name, value in parameters(repository).items()}}
    instance = {"model_instance_kind": kind, "model_instance_device_id": device}
    return {**instance, "model_config": json.dumps(config), "model_repository": str(repository / "xsam")}


@pytest.fixture
def repository(shapes_bundle: Path, tmp_path: Path) -> Path:
    output = tmp_path / "models"
    assert main(["--from", str(shapes_bundle), "--triton", str(output), "--threads", "1", "--copy-bundle"]) == 0
    return output


@pytest.fixture
def instance(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An instance that was made and not initialised."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils())
    return runpy.run_path(str(repository / "xsam" / "1" / "model.py"))["TritonPythonModel"]()


def test_its_life(repository: Path, instance: Any) -> None:
    instance.initialize(arguments(repository))
    large = np.zeros((1, 2200, 2200, 3), np.uint8)
    requests = [
        Request(REFER, {"MASKS", "SCORES"}),
        Request({**REFER, "PROMPTS": texts(" ")}, {"MASKS"}),
        Request({"TASK": texts("semantic"), "PIXELS": large, "STUFF": texts("sand")}, {"ID_MAP"}),
        Request(REFER, {"TEXT"}),
    ]
    good, bad, unsent, other = instance.execute(requests)
    assert sorted(tensor.name() for tensor in good.outputs) == ["MASKS", "SCORES"] and good.error is None
    assert (bad.error.code, list(bad.outputs)) == ("invalid", [])
    assert "is empty; say what to look for" in bad.error.message
    assert (unsent.error.code, unsent.error.message[:21]) == ("internal", "TritonModelException:")
    assert [tensor.name() for tensor in other.outputs] == ["TEXT"]
    instance.finalize()


def test_a_bundle_that_is_not_there(repository: Path, instance: Any) -> None:
    given = arguments(repository)
    with pytest.raises(TritonModelException, match=r"^BundleError: .* is not a bundle"):
        instance.initialize({**given, "model_repository": str(repository)})


def test_another_gpu_than_the_first(repository: Path, instance: Any) -> None:
    with pytest.raises(TritonModelException, match=r"is on GPU 1; .* CUDA_VISIBLE_DEVICES"):
        instance.initialize(arguments(repository, "GPU", "1"))
