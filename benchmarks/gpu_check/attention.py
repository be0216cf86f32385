"""Attention at the shapes of the full-size model: the dialects' forms, and torch's fused operator.

Products are FP16 and softmax FP32, as in FP16 graphs. Each form is compared with the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xsam_edge.benchmarks.gpu_check.fused import joined_sdpa
from xsam_edge.benchmarks.gpu_check.random_model import empty_model, randomise
from xsam_edge.benchmarks.gpu_check.records import Recorder
from xsam_edge.benchmarks.gpu_check.steps import Setting
from xsam_edge.benchmarks.gpu_check.timing import timed
from xsam_edge.export.config.sizes import LLMConfig, ModelConfig
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.models.llm import cached_attention, joined_attention
from xsam_edge.export.models.masking import hide
from xsam_edge.runtime.bundle.contract import Dialect

# Tokens that are new and that are past: an image's prompt, a further prompt behind it, a step.
_SHAPES = {"prefill": (1849, 0), "suffix": (24, 1849), "decode": (1, 2048)}
_SMALL_SHAPES = {"prefill": (64, 0), "suffix": (8, 64), "decode": (1, 64)}

Forms = Mapping[str, Callable[[], Tensor]]


class SoftmaxInFloat32(TorchFunctionMode):
    """Within it a softmax of FP16 values computes and returns FP32, cast back for what comes next."""

    def __torch_function__(
        self, function: Any, _types: Any, arguments: tuple[Any, ...] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator."""
        if function is not torch.softmax:
            return function(*arguments, **(options or {}))
        values, *others = arguments
        return function(values.float(), *others, **(options or {})).to(values.dtype)


@torch.no_grad()
def run(setting: Setting, say: Recorder) -> None:
    """The step."""
    config = VARIANTS["shapes" if setting.small else "phi3"].config
    repeat = 2 if setting.small else 10
    for name, (count, past) in (_SMALL_SHAPES if setting.small else _SHAPES).items():
        _report(
            f"{name} of {count} behind {past}", _language(config.llm, count, past, setting.device), setting, repeat, say
        )
    layers = {dialect: _mask_encoder_layers(config, dialect, setting.device) for dialect in get_args(Dialect)}
    grid, width = config.mask_encoder.grid, config.mask_encoder.hidden_size
    x = torch.randn(1, grid, grid, width, device=setting.device).half()
    for kind in ("global", "windowed"):
        forms = {dialect: (lambda layer=found[kind]: layer(x)) for dialect, found in layers.items()}
        _report(f"SAM layer, {kind}", forms, setting, repeat, say)


def _report(name: str, forms: Forms, setting: Setting, repeat: int, say: Recorder) -> None:
    with SoftmaxInFloat32():
        first = next(iter(forms.values()))().float()
        for form, compute in forms.items():
            apart = (compute().float() - first).abs().max().item()
            time = timed(compute, setting.device, repeat)
            note = f"at most {apart:.1e} apart from the first form" if apart else ""
            replayed = "" if time.replayed_ms is None else f"{time.replayed_ms:.3g} ms replayed"
            say(f"{name}, {form}", time.eager_ms, "ms", "; ".join(filter(None, (replayed, time.note, note))))


def _language(config: LLMConfig, count: int, past: int, device: str) -> Forms:
    """Forms of one layer's attention, of new tokens behind a past."""

    def rows(length: int) -> Tensor:
        return torch.randn(1, length, config.num_heads, config.head_dim, device=device).half()

    query, new, old = rows(count) * config.head_dim**-0.5, (rows(count), rows(count)), (rows(past), rows(past))
    ahead = torch.ones(count, past + count, dtype=torch.bool, device=device).triu(past + 1)
    bias = hide(ahead, torch.float16)
    return {
        "cpu": lambda: cached_attention(query, new, old, bias),
        "gpu": lambda: joined_attention(query, new, old, bias),
        "torch's own": lambda: joined_sdpa(query, new, old, bias),
    }


def _mask_encoder_layers(config: ModelConfig, dialect: Dialect, device: str) -> dict[str, torch.nn.Module]:
    """A layer with attention to the whole map and one with windows, of the same weights in each dialect."""
    sam = config.mask_encoder
    short = replace(sam, num_layers=2, global_attention_layers=(1,), taps=(0, 1, 2), select_layer=-1)
    encoder = empty_model(replace(config, mask_encoder=short), dialect).segmentor.encoder
    found = {}
    for layer in encoder.layers:
        layer = layer.to(torch.float16).to_empty(device=device).eval()
        found["windowed" if layer.window else "global"] = randomise(layer, seed=0)
    return found
