"""Reports to test with."""

from __future__ import annotations

from dataclasses import replace

from xsam_edge.export.report.facts import (
    BlockFacts,
    CalibrationFacts,
    GateFacts,
    HalfRangeFacts,
    RaisedNodes,
    Report,
    SizeFacts,
    SmoothingFacts,
    StageFacts,
    TaskFacts,
    Unquantised,
    WorstCase,
)

GATE = GateFacts(0.97, 0.9874, 0.0013, 0.9931, 64, 731, 9, 512.0, passed=True)
FULL = Report(
    precision="int8",
    float_type="fp16",
    ranges="percentile-99.999",
    variant="phi3-3.8b",
    source="owner/model",
    calibration=CalibrationFacts("shapes", 256, ("broken.jpg",), from_cache=True),
    gate=GATE,
    stages=(StageFacts("llm", "logits", 24.31, 0.9982), StageFacts("mask_decoder", "mask_logits", 31.0, 0.9995)),
    blocks=(
        BlockFacts("image_encoder", "/encoder/layers.0/attn/**", "int8", 41.25, 0.9999, 0.998, 4, 4),
        BlockFacts("image_encoder", "/encoder/layers.1/attn/**", "mixed", 37.75, 0.9998, 0.997, 4, 3),
        BlockFacts("llm", "/llm/model/layers.0/mlp/**", "fp16", 58.5, 1.0, 0.951, 2, 0),
        BlockFacts("llm", "/llm/model/layers.1/mlp/**", "int8", 33.5, 0.9991, 0.993, 2, 2),
    ),
    half_range=HalfRangeFacts(4, 20480.5, "llm: /llm/model/layers.1/mlp/Mul_output_0", 2, 32752.0),
    raised=(RaisedNodes("/llm/model/layers.0/mlp/**", "fp16", "alone it leaves a mask IoU of 0.951"),),
    sizes=(SizeFacts("llm.onnx.data", 3_000_000, 12_000_000), SizeFacts("tokenizer.json", 1_000, 1_000)),
    tasks=(
        TaskFacts("refer", 290, 290, 0.9911, 0.71, 0.968, 1.0, 0.9995),
        TaskFacts("panoptic", 64, 377, 0.9641, 0.0, 0.93, 0.984, 0.991),
    ),
    worst=(WorstCase("refer", "scene-7", "the red circle", 0.4123), WorstCase("reason", "scene-8", "what rolls", 0.2)),
    smoothing=(SmoothingFacts("/llm/model/layers.0/input_layernorm", 0.55, 4.2),),
    unquantised=(Unquantised("/decoder/attn/MatMul", "both sides are activations"),),
    notes=("run it with ONNX Runtime 1.30 or newer",),
    degraded=False,
    seconds=3127.0,
    peak_memory_bytes=6_100_000_000,
    peak_resident_bytes=11_400_000_000,
)
EMPTY = replace(
    FULL,
    calibration=CalibrationFacts("images/", 0),
    gate=None,
    stages=(),
    blocks=(),
    half_range=None,
    raised=(),
    sizes=(),
    tasks=(),
    worst=(),
    smoothing=(),
    unquantised=(),
    notes=(),
)
