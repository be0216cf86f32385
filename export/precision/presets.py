"""The plan of each precision, before anything was measured on the model at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xsam_edge.export.precision.plan import FloatType, Plan, Precision, Rule, matches
from xsam_edge.runtime.bundle.contract import Dialect

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4", "fp8")

# Where FP16 is not enough, and why.
_EVERYWHERE = (
    Rule("**/*norm*/*", "fp32", "mean and variance: squares of activations overflow"),
    Rule("**/*Normalization*", "fp32", "norms in a numbered list of modules"),
    Rule("**/layers.*/Add*", "fp32", "residual streams: sums of all layers, which overflow first and round most often"),
    Rule("**/Softmax*", "fp32", "sums of exponentials"),
    Rule("**/rotary/*", "fp32", "angles: position x frequency needs more than 11 bits from position 2,048 on"),
    Rule("/Resize*", "fp32", "mask features at the sizes of levels"),
    Rule("/segmentor/class_predictor/**", "fp32", "a cosine, and a scale of up to e^6"),
)
# On a CPU, which computes FP16 in FP32 anyway, the whole mask head: 3% of the work.
_CPU_ISLANDS = (
    *_EVERYWHERE,
    Rule("/seg_connector/**", "fp32", "before the mask head"),
    Rule("/segmentor/pixel_decoder/**", "fp32", "pixel coordinates, which FP16 rounds to sixteenths"),
    Rule("/segmentor/decoder/**", "fp32", "its attention masks are signs of logits: a rounding flips a pixel for good"),
)
# On a GPU, where FP32 is many times as slow, what is not a product, and the products whose rounding masks see. What
# each is for was measured: export/README.md. With the whole mask head in FP32 masks agree no better, to 0.001.
_GPU_ISLANDS = (
    *_EVERYWHERE,
    Rule("**/sampling_offsets/*", "fp32", "pixel coordinates, which FP16 rounds to sixteenths"),
    Rule("**/gather/**", "fp32", "pixel coordinates, and sums of samples that are weighted by them"),
    Rule("/segmentor/pixel_decoder/*.1/*", "fp32", "scale and bias of norms in a numbered list of modules"),
    Rule("/segmentor/pixel_decoder/Add*", "fp32", "a sum of two levels"),
    Rule("/segmentor/decoder/decoder/mask_predictor/**", "fp32", "mask logits, whose signs are what queries see"),
    Rule("/segmentor/decoder/Add*", "fp32", "what the residual stream begins with"),
)
FP32_ISLANDS: Mapping[Dialect, tuple[Rule, ...]] = {"cpu": _CPU_ISLANDS, "gpu": _GPU_ISLANDS, "cuda": _GPU_ISLANDS}

_ENCODERS = (
    "/vision_encoder/**",
    "/segmentor/encoder/**",
    "/visual_projector/**",
    "/seg_projector/**",
)
# Convolutions, which cannot be fp8, and the few linear layers between them and the masks, left alone with them.
_BEFORE_MASKS = ("/seg_connector/**", "/segmentor/pixel_decoder/**")
_BOTH: tuple[Precision, ...] = ("int8", "fp8")  # of weights and activations
_LAYERS = "/llm/model/layers.*/**"
_HEAD = "/llm/MatMul"

# Measured on the demo model: each of these costs more than all layers of an encoder, and is a percent of the work.
_FLOAT = (
    ("**/patch_embed*/**", "three input channels"),
    ("**/sampling_offsets/*", "pixel coordinates"),
    ("/segmentor/pixel_decoder/mask_projection/*", "the mask features themselves"),
)


def preset(
    precision: Precision,
    nodes: Iterable[str],
    *,
    dialect: Dialect = "cpu",
    float_type: FloatType = "fp16",
    encoders: Precision | None = None,
) -> Plan:
    """The plan of a precision for graphs with these nodes; patterns that match none of them are left out.

    Args:
        precision: of the language model. ``fp32`` and ``fp16`` quantise nothing by themselves.
        nodes: names of all nodes.
        dialect: of the graphs.
        float_type: around quantised products, and of everything else. Of ``fp32`` and ``fp16`` their own.
        encoders: of everything before the language model; by default int8 or fp8 where the language model is, else
            float.
    """
    floating: FloatType = precision if precision == "fp32" or precision == "fp16" else float_type
    if encoders is None:
        encoders = precision if precision in _BOTH else floating
    rules: list[Rule] = []
    if precision in _BOTH:
        rules.append(Rule("/llm/**", precision, "activations and weights"))
    elif precision == "int4":
        rules.append(Rule(_LAYERS, "int4", "weights in blocks, activations float"))
        rules.append(Rule(_HEAD, "int8", "the head, whose outputs are compared with one another only"))
    if encoders != floating:
        patterns = _ENCODERS if encoders == "fp8" else (*_ENCODERS, *_BEFORE_MASKS)
        rules += [Rule(pattern, encoders, "image encoders") for pattern in patterns]
        rules += [Rule(pattern, floating, why) for pattern, why in _FLOAT if encoders in _BOTH]
    islands = FP32_ISLANDS[dialect] if floating == "fp16" else ()
    return _matching(Plan(floating, islands, tuple(rules)), tuple(nodes))


def _matching(plan: Plan, nodes: tuple[str, ...]) -> Plan:
    def known(rules: Iterable[Rule]) -> tuple[Rule, ...]:
        return tuple(rule for rule in rules if any(matches(rule.nodes, name) for name in nodes))

    return replace(plan, islands=known(plan.islands), rules=known(plan.rules))
