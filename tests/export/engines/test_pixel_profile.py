from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from tests.samples import SETTINGS
from xsam_edge.export.engines.pixel_profile import pixel_profiles
from xsam_edge.export.engines.profiles import input_shapes
from xsam_edge.export.graph.graphs import graph_spec
from xsam_edge.export.graph.pixels import pixels_graph
from xsam_edge.runtime.bundle.settings import MaskInput, VisionInput

FULL = dataclasses.replace(
    SETTINGS,
    vision_input=VisionInput(384, 384, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 3, 1 / 255, False),
    mask_input=MaskInput(1024, 1024, 1024, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 2, 1 / 255),
)


def test_the_profile_holds_all_that_is_taken_and_is_tuned_for_full_hd() -> None:
    (profile,) = pixel_profiles(FULL)
    assert profile.axes == {
        "height": (1, 1080, 4096),
        "width": (1, 1920, 4096),
        "vision_taps": (2, 21, 44),
        "mask_taps": (2, 5, 14),
    }
    assert profile.axes.keys() == graph_spec(pixels_graph(FULL), "pixels.onnx").axes


@pytest.mark.engines
@pytest.mark.parametrize("pad_to_square", [False, True])
def test_a_strongly_typed_engine_builds_and_writes_no_taps(tmp_path: Path, pad_to_square: bool) -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    vision = dataclasses.replace(FULL.vision_input, pad_to_square=pad_to_square)
    model = pixels_graph(dataclasses.replace(FULL, vision_input=vision))
    ir.save(model, tmp_path / "pixels.onnx")

    class Log(trt.ILogger):  # type: ignore[misc]
        said = ""

        def log(self, severity: Any, message: str) -> None:
            Log.said += f"{message}\n"

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(tmp_path / "pixels.onnx")), parser.get_error(0).desc()
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for name, sizes in input_shapes(graph_spec(model, "pixels.onnx"), pixel_profiles(FULL)[0]).items():
        profile.set_shape(name, *sizes)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, Log.said
    # The largest picture in FP16 has 101 MB; taps that were written would have at least 423.
    assert max(map(int, re.findall(r"Scratch Memory: (\d+)", Log.said))) < 300e6
