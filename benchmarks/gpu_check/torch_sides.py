"""The full-size model in PyTorch, FP16, random weights: the official chain eager, with fused attention, compiled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from xsam_edge.benchmarks import inputs, measure
from xsam_edge.benchmarks.gpu_check.fused import fuse
from xsam_edge.benchmarks.gpu_check.memory import used_bytes
from xsam_edge.benchmarks.gpu_check.random_model import random_model
from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.gpu_check.stages import FIRST, GPU_MEMORY, NEXT, STEP, Nominal, report_answers, stage
from xsam_edge.benchmarks.gpu_check.steps import Setting
from xsam_edge.benchmarks.gpu_check.timing import median_ms
from xsam_edge.benchmarks.peers import TorchSide
from xsam_edge.benchmarks.watch import DECODE, SUFFIX
from xsam_edge.export.models.llm import DecoderLayer
from xsam_edge.export.models.mask_decoder import MaskDecoderLayer
from xsam_edge.export.models.mask_encoder import MaskLayer
from xsam_edge.export.models.pixel_decoder import PixelDecoderLayer
from xsam_edge.export.models.vision_encoder import VisionLayer
from xsam_edge.export.models.xsam import XSam as TorchXSam
from xsam_edge.export.prepare import from_random
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.language.tokenizer import Tokenizer
from xsam_edge.runtime.model import XSam

EAGER, FUSED, COMPILED = "eager", "fused", "compiled"
_REPEATED = (DecoderLayer, VisionLayer, MaskLayer, PixelDecoderLayer, MaskDecoderLayer)
_ROUNDS, _SMALL_ROUNDS = (8, 3), (1, 1)


def run(setting: Setting, say: Recorder) -> None:
    """The step: eager as the reference is, and with torch's fused attention."""
    model, xsam = _build(setting)
    _measure(EAGER, model, xsam, setting, say)
    _measure(FUSED, fuse(model), xsam, setting, say)


def run_compiled(setting: Setting, say: Recorder) -> None:
    """The step: fused attention, and every layer compiled."""
    model, xsam = _build(setting)
    compile_layers(fuse(model), "eager" if setting.small else "inductor")
    _measure(COMPILED, model, xsam, setting, say)


def compile_layers(model: TorchXSam, backend: str) -> None:
    """Compile what repeats, in place: layers of one kind share their code, and three whole parts would take minutes."""
    for module in model.modules():
        if isinstance(module, _REPEATED):
            module.compile(dynamic=isinstance(module, DecoderLayer) or None, backend=backend)
    model.seg_connector.compile(backend=backend)


def _build(setting: Setting) -> tuple[TorchXSam, XSam]:
    """The model, and of the runtime's what a side takes of it: settings and tokenizer."""
    request = from_random("shapes" if setting.small else "phi3", seed=0, precision="fp16")
    dtype = torch.float32 if setting.small else torch.float16
    model = random_model(request.config, setting.device, dtype)
    described = SimpleNamespace(
        manifest=SimpleNamespace(settings=request.settings, precision="fp16"),
        language=SimpleNamespace(tokenizer=Tokenizer(request.tokenizer_json)),
    )
    return model, cast(XSam, described)


def _measure(name: str, model: TorchXSam, xsam: XSam, setting: Setting, say: Recorder) -> None:
    dtype = next(model.parameters()).dtype
    threads = 1 if setting.small else usable_cores()
    side = TorchSide(model, xsam, "append", threads, device=setting.device, dtype=dtype)
    repeat, warmup = _SMALL_ROUNDS if setting.small else _ROUNDS
    picture, pictures = inputs.pictures()
    (rounds,), (warming,) = measure.alternate([side], picture, inputs.PHRASES, repeat=repeat, warmup=warmup)
    firsts, nexts = [item.first for item in rounds], [item.next for item in rounds]
    report_answers(f"{name}: {FIRST}", firsts, pictures, say)
    report_answers(f"{name}: {NEXT}", nexts, f"{pictures}; all tokens are run again", say)
    say(f"{name}: warming up takes", warming, "s", f"{warmup} rounds, torch {torch.__version__}")
    calls = [call for sample in firsts for call in sample.calls]
    for found in dict.fromkeys(call.stage for call in calls):
        times = sorted(call.ms for call in calls if call.stage == found)
        say(f"{name}: {stage(found)}", times[len(times) // 2], "ms")
    _behind_a_past(name, model, xsam, setting, say)
    if setting.device != "cpu":
        say(f"{name}: {GPU_MEMORY}", used_bytes() / 1e9, "GB")


@torch.inference_mode()
def _behind_a_past(name: str, model: TorchXSam, xsam: XSam, setting: Setting, say: Recorder) -> None:
    """A suffix and a step of the language model, whose cache is there already."""
    config, dtype = model.config.llm, next(model.parameters()).dtype
    nominal = Nominal.of(xsam.manifest.settings.model).axes()
    for found in (SUFFIX, DECODE):
        axes = nominal[found][1]
        count, past = axes[contract.SEQUENCE], axes[contract.PAST]

        def some(*shape: int) -> Tensor:
            return torch.randn(*shape, device=setting.device).to(dtype)

        embeds = some(1, count, config.hidden_size)
        positions = torch.arange(past, past + count, device=setting.device)[None]
        rows = torch.tensor([count - 1], device=setting.device)
        cache = [
            (some(1, past, config.num_kv_heads, config.head_dim), some(1, past, config.num_kv_heads, config.head_dim))
            for _ in range(config.num_layers)
        ]

        def forward() -> None:
            model.llm(embeds, positions, cache, rows)  # noqa: B023
            if setting.device != "cpu":
                torch.cuda.synchronize()

        for _ in range(3):
            forward()
        spent = median_ms(forward, "cpu", 2 if setting.small else 20)  # the host's time counts: launches take it
        say(f"{name}: {stage(found)}", spent, "ms", f"sequence {count}, past {past}")
        if found == DECODE:
            say(f"{name}: {STEP}", spent, "ms")
