"""The contract with a model's sizes filled in: dtype and shape of every input and output of all graphs.

A manifest says them too, once for each graph. The runtime allocates by the one and binds by the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.dtypes import FP8
from xsam_edge.runtime.bundle.settings import ModelFacts, Settings

Shape = tuple[int | str, ...]
Signature = tuple[tuple[str, ...], Shape]
"""The dtypes that a tensor may have, and its shape: sizes and names of axes."""

Signatures = Mapping[str, Signature]
"""Of tensors by their names."""

_FLOATS = ("float32", "float16")
_CACHE = (*_FLOATS, "int8", FP8)
_PIXELS = _LOGITS = _POOLED = ("float32",)
_INDICES = ("int64",)
_PICTURE = ("uint8",)


def check(graphs: Mapping[str, tuple[Signatures, Signatures]], settings: Settings) -> None:
    """Compare the inputs and outputs of graphs with those of the contract.

    Raises:
        ValueError: the first difference, at its place in a manifest.
    """
    if missing := [name for name in contract.GRAPHS if name not in graphs]:
        raise ValueError(f"graphs has no {missing[0]!r}; expected {', '.join(contract.GRAPHS)}")
    encoder, llm, decoder = (graphs[name] for name in contract.GRAPHS)
    features = {name: signature for name, signature in encoder[1].items() if name != contract.IMAGE_EMBEDS}
    for name, signature in features.items():
        if not all(isinstance(size, int) for size in signature[1]):
            raise ValueError(f"graphs.image_encoder.outputs: {name} is {_text(signature)}; expected sizes only")
    expected = {
        contract.IMAGE_ENCODER: _image_encoder(settings, features),
        contract.LLM: _llm(
            settings.model, _batch(llm[0].get(contract.INPUTS_EMBEDS)), llm[0].get(contract.past_key(0))
        ),
        contract.MASK_DECODER: _mask_decoder(settings.model, _batch(decoder[0].get(contract.SEG_EMBED)), features),
    }
    if contract.PIXELS in graphs:
        expected[contract.PIXELS] = _pixels(settings)
    for name, (inputs, outputs) in expected.items():
        _compare(f"graphs.{name}.inputs", graphs[name][0], inputs)
        _compare(f"graphs.{name}.outputs", graphs[name][1], outputs)


def _compare(place: str, actual: Signatures, expected: Signatures) -> None:
    for name in (*expected, *actual):
        if name not in actual:
            raise ValueError(f"{place} has no {name!r}; expected {_text(expected[name])}")
        if name not in expected:
            raise ValueError(f"{place} has {name!r}; expected only {', '.join(expected)}")
        (dtypes, shape), (known, wanted) = actual[name], expected[name]
        if shape != wanted or not {*dtypes} <= {*known}:
            raise ValueError(
                f"{place}: {name} is {_text(actual[name])}; expected {_text(expected[name])}, as settings and the "
                "other tensors have it"
            )


def _text(signature: Signature) -> str:
    dtypes, shape = signature
    return f"{' or '.join(dtypes)} [{', '.join(map(str, shape))}]"


def _batch(tensor: Signature | None) -> int | str:
    """The first axis of all that a prompt needs: 1 in bundles that take one prompt at a time."""
    return 1 if tensor is not None and tensor[1][:1] == (1,) else contract.BATCH


def _image_encoder(settings: Settings, features: Signatures) -> tuple[Signatures, Signatures]:
    """Inputs and outputs; ``features`` are what it gives the mask decoder."""
    model = settings.model
    outputs = {contract.IMAGE_EMBEDS: (_FLOATS, (1, model.image_tokens, model.hidden_size)), **features}
    return _pixel_values(settings), outputs


def _pixel_values(settings: Settings) -> Signatures:
    """What the image encoder takes, and ``pixels`` gives."""
    vision, mask = settings.vision_input, settings.mask_input
    return {
        contract.PIXEL_VALUES: (_PIXELS, (1, 3, vision.height, vision.width)),
        contract.MASK_PIXEL_VALUES: (_PIXELS, (1, 3, mask.height, mask.width)),
    }


def _pixels(settings: Settings) -> tuple[Signatures, Signatures]:
    """Inputs and outputs."""
    outputs = _pixel_values(settings)
    inputs: dict[str, Signature] = {contract.PICTURE: (_PICTURE, (1, contract.HEIGHT, contract.WIDTH, 3))}
    for (name, (_, shape)), taps in zip(outputs.items(), (contract.VISION_TAPS, contract.MASK_TAPS), strict=True):
        for axis, size in zip((contract.HEIGHT, contract.WIDTH), shape[2:], strict=True):
            inputs[contract.indices(name, axis)] = (_INDICES, (size, taps))
            inputs[contract.weights(name, axis)] = (_PIXELS, (size, taps))
    return inputs, outputs


def _llm(model: ModelFacts, batch: int | str, cache: Signature | None) -> tuple[Signatures, Signatures]:
    """Inputs and outputs; keys and values of all layers have the dtype of ``cache``."""
    row = (model.num_kv_heads, model.head_dim)
    stored = cache[0] if cache is not None and {*cache[0]} <= {*_CACHE} else _CACHE
    past: Signature = (stored, (1, contract.PAST, *row))
    new: Signature = (stored, (batch, contract.SEQUENCE, *row))
    layers = range(model.num_layers)
    inputs: Signatures = {
        contract.INPUTS_EMBEDS: (_FLOATS, (batch, contract.SEQUENCE, model.hidden_size)),
        contract.POSITION_IDS: (_INDICES, (1, contract.SEQUENCE)),
        contract.LOGITS_POSITIONS: (_INDICES, (contract.ROWS,)),
        **{name(layer): past for layer in layers for name in (contract.past_key, contract.past_value)},
    }
    outputs = {
        contract.LOGITS: (_LOGITS, (contract.ROWS, model.vocab_size)),
        contract.NEXT_IDS: (_INDICES, (contract.ROWS,)),
        contract.SEG_HIDDEN: (_POOLED, (batch, contract.SEQUENCE, model.embed_size)),
        **{name(layer): new for layer in layers for name in (contract.new_key, contract.new_value)},
    }
    return inputs, outputs


def _mask_decoder(model: ModelFacts, batch: int | str, features: Signatures) -> tuple[Signatures, Signatures]:
    """Inputs and outputs; it takes the ``features`` as the image encoder gives them."""
    inputs: Signatures = {
        contract.SEG_EMBED: (_POOLED, (batch, 1, model.embed_size)),
        contract.CONDITION_EMBEDS: (_POOLED, (batch, contract.CONDITIONS, model.embed_size)),
        **features,
    }
    outputs: Signatures = {
        contract.CLASS_LOGITS: (_LOGITS, (batch, model.num_queries, contract.CLASSES)),
        contract.MASK_LOGITS: (_LOGITS, (batch, model.num_queries, *model.mask_grid)),
    }
    return inputs, outputs
