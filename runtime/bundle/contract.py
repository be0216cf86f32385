"""Names shared by the exporter and the runtime: graphs, their inputs and outputs, their axes.

Shapes (dtypes stand in each bundle's manifest: levels, embeddings and cache carry the bundle's precision, and the cache
may be codes, int8 or float8_e4m3fn, whose scales only the graph knows and of which zero bytes are zeros; pixels, mask
features, logits and pooled embeddings are float32, indices int64, pictures uint8). There is one image throughout;
``batch`` counts the prompts that are asked of it at once:

``image_encoder``: everything that depends on the image only.
    pixel_values [1, 3, h, w]; mask_pixel_values [1, 3, H, W]
    -> image_embeds [1, image_tokens, hidden], SigLIP tokens then SAM tokens
    -> mask_features [1, M, gh, gw]
    -> multi_scale.I [1, C, gh_I, gw_I], low to high resolution; or in their place, in dialects for GPUs,
       level_key.L, level_value.L [1, gh_I * gw_I, C]: keys and values of the image in the mask decoder's layer L, which
       attends to level I = L mod levels
    -> level_mask_features.I [1, M, gh_I, gw_I]: mask_features resized to level I, for the levels of another size

``llm``: one graph for a first prompt (past = 0), a suffix with a past, and decode (sequence = 1).
    inputs_embeds [batch, sequence, hidden]; position_ids [1, sequence], ascending: all sequences begin behind the same
    past; logits_positions [rows], indices into batch * sequence; past_key.L, past_value.L [1, past, kv_heads,
    head_dim], of which the first position_ids[0, 0] rows count: further ones are padding, finite and seen by nobody
    -> logits [rows, vocab]
    -> next_ids [rows]: the first of the greatest logits of each row
    -> seg_hidden [batch, sequence, embed]: the last hidden state after llm_projector
    -> new_key.L, new_value.L [batch, sequence, kv_heads, head_dim]: only what is new

``mask_decoder``:
    seg_embed [batch, 1, embed]; condition_embeds [batch, conditions, embed], background not included;
    mask_features, multi_scale.I or level_key.L and level_value.L, level_mask_features.I as above
    -> class_logits [batch, queries, conditions + 1], background last
    -> mask_logits [batch, queries, gh, gw]

``pixels``, which a bundle need not have: what a GPU makes of a picture in place of the host, to the same values.
    picture [1, height, width, 3], RGB; for both outputs P and both axes A of it: P.A.indices [n, taps], which pixels
    make each of the n places along the axis, and P.A.weights [n, taps], how much they count. The first of the taps is
    not a pixel but the colour around the picture (``runtime.image.taps``); P has vision_taps or mask_taps of them
    -> pixel_values, mask_pixel_values, as ``image_encoder`` takes them

The cache is token-major: the rows of a past are contiguous, so that a past is a view of the cache's head and new rows
are appended behind it, by the graph itself or, where its addresses have to stay the same, by a copy of these rows
alone. No key or value is moved once it is there. A past may be padded, by the rows that follow it in the cache, and new
rows by others behind them, which none before them sees, so that runs have few different shapes; what is computed of
padding is dropped.
"""

from __future__ import annotations

from typing import Literal

Dialect = Literal["cpu", "gpu", "cuda"]
"""Whom the forms of the graphs are for. All compute the same, and ONNX Runtime runs each of them on a CPU.

``cpu`` moves no cached row, which is fastest there; ``gpu`` joins cached and new keys and values, so that NVIDIA's
compiler makes one kernel of an attention, and projects an image for the mask decoder once, not at every prompt;
``cuda`` is ``gpu`` with operators of ONNX Runtime's own.
"""

IMAGE_ENCODER = "image_encoder"
LLM = "llm"
MASK_DECODER = "mask_decoder"
GRAPHS = (IMAGE_ENCODER, LLM, MASK_DECODER)  # those that every bundle has
PIXELS = "pixels"

PICTURE = "picture"
PIXEL_VALUES = "pixel_values"
MASK_PIXEL_VALUES = "mask_pixel_values"
IMAGE_EMBEDS = "image_embeds"
MASK_FEATURES = "mask_features"

INPUTS_EMBEDS = "inputs_embeds"
POSITION_IDS = "position_ids"
LOGITS_POSITIONS = "logits_positions"
LOGITS = "logits"
NEXT_IDS = "next_ids"
SEG_HIDDEN = "seg_hidden"

SEG_EMBED = "seg_embed"
CONDITION_EMBEDS = "condition_embeds"
CLASS_LOGITS = "class_logits"
MASK_LOGITS = "mask_logits"

# Axes whose size a caller chooses.
BATCH = "batch"
SEQUENCE = "sequence"
PAST = "past"
ROWS = "rows"
CONDITIONS = "conditions"
CLASSES = "classes"  # conditions + 1
HEIGHT = "height"
WIDTH = "width"
VISION_TAPS = "vision_taps"
MASK_TAPS = "mask_taps"
AXES = (BATCH, SEQUENCE, PAST, ROWS, CONDITIONS, CLASSES, HEIGHT, WIDTH, VISION_TAPS, MASK_TAPS)


def indices(pixels: str, axis: str) -> str:
    """Which pixels make each place along ``HEIGHT`` or ``WIDTH`` of ``PIXEL_VALUES`` or ``MASK_PIXEL_VALUES``."""
    return f"{pixels}.{axis}.indices"


def weights(pixels: str, axis: str) -> str:
    """How much the pixels of :func:`indices` count."""
    return f"{pixels}.{axis}.weights"


def multi_scale(level: int) -> str:
    """Pixel decoder features of one level."""
    return f"multi_scale.{level}"


def level_key(layer: int) -> str:
    """Keys of the image in one layer of the mask decoder."""
    return f"level_key.{layer}"


def level_value(layer: int) -> str:
    """Values of the image in one layer of the mask decoder."""
    return f"level_value.{layer}"


def level_mask_features(level: int) -> str:
    """Mask features resized to one level."""
    return f"level_mask_features.{level}"


def past_key(layer: int) -> str:
    """Cached keys of one layer."""
    return f"past_key.{layer}"


def past_value(layer: int) -> str:
    """Cached values of one layer."""
    return f"past_value.{layer}"


def new_key(layer: int) -> str:
    """Keys of the new tokens of one layer."""
    return f"new_key.{layer}"


def new_value(layer: int) -> str:
    """Values of the new tokens of one layer."""
    return f"new_value.{layer}"
