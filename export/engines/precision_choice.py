"""The precision of a target, where its user does not say one: the fastest that fits."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.engines.fit import fit_target
from xsam_edge.export.engines.flavours import eight_bits
from xsam_edge.export.engines.footprint import config_footprint
from xsam_edge.export.engines.targets import Target
from xsam_edge.export.precision.plan import Precision


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision, and why it was chosen; "" where a user did."""

    precision: Precision
    why: str = ""


def choose_precision(
    target: Target, config: ModelConfig, variant: str, context: int, *, codes: bool = False
) -> PrecisionChoice:
    """FP8 where a GPU has it, else INT8; INT4 where that does not fit and INT4 does; FP16 where nothing is known.

    ``context`` is in tokens, 0 for the target's; ``codes``: the key-value cache has 8 bits a value.

    Raises:
        InputError: a context that the model does not have.
    """
    capability = target.compute_capability
    if not capability:
        return PrecisionChoice("fp16", "fp16, since the GPU is not known; --target names it")
    fastest = eight_bits(capability)
    fits = {
        precision: fit_target(config_footprint(config, variant, precision, codes=codes), context, target).fits
        for precision in (fastest, "int4")
    }
    if fits["int4"] and not fits[fastest]:
        return PrecisionChoice("int4", f"int4, since {fastest} does not fit {target.name}")
    products = "of 8-bit floats" if fastest == "fp8" else "of 8-bit integers and not of 8-bit floats"
    why = f"{fastest}, since {target.name} (compute capability {capability}) has products {products}"
    return PrecisionChoice(fastest, why)
