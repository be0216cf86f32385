"""The contract with a model's sizes filled in: dtype and shape of every input and output of the three graphs.

A manifest says them too, once for each graph. The runtime allocates by the one and binds by the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.settings import ModelFacts, Settings

Shape = tuple[int | str, ...]

_FLOATS = ("float32", "float16")
_PIXELS = _LOGITS = _POOLED = ("float32",)
_INDICES = ("int64",)


class Signature(NamedTuple):
    """What a tensor may be: one of some dtypes, and a shape of sizes and axis names."""

    dtypes: tuple[str, ...]
    shape: Shape


Signatures = Mapping[str, Signature]


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
        if not all(isinstance(size, int) for size in signature.shape):
            raise ValueError(f"graphs.image_encoder.outputs: {name} is {_text(signature)}; expected sizes only")
    expected = (
        _image_encoder(settings, features),
        _llm(settings.model, _batch(llm[0].get(contract.INPUTS_EMBEDS)), llm[0].get(contract.past_key(0))),
        _mask_decoder(settings.model, _batch(decoder[0].get(contract.SEG_EMBED)), features),
    )
    for name, (inputs, outputs) in zip(contract.GRAPHS, expected, strict=True):
        _compare(f"graphs.{name}.inputs", graphs[name][0], inputs)
        _compare(f"graphs.{name}.outputs", graphs[name][1], outputs)


def _compare(place: str, actual: Signatures, expected: Signatures) -> None:
    for name in (*expected, *actual):
        if name not in actual:
            raise ValueError(f"{place} has no {name!r}; expected {_text(expected[name])}")
        if name not in expected:
            raise ValueError(f"{place} has {name!r}; expected only {', '.join(expected)}")
        if actual[name].shape != expected[name].shape or not {*actual[name].dtypes} <= {*expected[name].dtypes}:
            raise ValueError(
                f"{place}: {name} is {_text(actual[name])}; expected {_text(expected[name])}, as settings and the "
                "other tensors have it"
            )


def _text(signature: Signature) -> str:
    return f"{' or '.join(signature.dtypes)} [{', '.join(map(str, signature.shape))}]"


def _batch(tensor: Signature | None) -> int | str:
    """The first axis of all that a prompt needs: 1 in bundles that take one prompt at a time."""
    return 1 if tensor is not None and tensor.shape[:1] == (1,) else contract.BATCH


def _image_encoder(settings: Settings, features: Signatures) -> tuple[Signatures, Signatures]:
    """Inputs and outputs; ``features`` are what it gives the mask decoder."""
    model, vision, mask = settings.model, settings.vision_input, settings.mask_input
    inputs = {
        contract.PIXEL_VALUES: Signature(_PIXELS, (1, 3, vision.height, vision.width)),
        contract.MASK_PIXEL_VALUES: Signature(_PIXELS, (1, 3, mask.height, mask.width)),
    }
    return inputs, {contract.IMAGE_EMBEDS: Signature(_FLOATS, (1, model.image_tokens, model.hidden_size)), **features}


def _llm(model: ModelFacts, batch: int | str, cache: Signature | None) -> tuple[Signatures, Signatures]:
    """Inputs and outputs; keys and values of all layers have the dtype of ``cache``."""
    row = (model.num_kv_heads, model.head_dim)
    floats = _FLOATS if cache is None or cache.dtypes[0] not in _FLOATS else cache.dtypes
    past = Signature(floats, (1, contract.PAST, *row))
    new = Signature(floats, (batch, contract.SEQUENCE, *row))
    layers = range(model.num_layers)
    inputs = {
        contract.INPUTS_EMBEDS: Signature(_FLOATS, (batch, contract.SEQUENCE, model.hidden_size)),
        contract.POSITION_IDS: Signature(_INDICES, (1, contract.SEQUENCE)),
        contract.LOGITS_POSITIONS: Signature(_INDICES, (contract.ROWS,)),
        **{name(layer): past for layer in layers for name in (contract.past_key, contract.past_value)},
    }
    outputs = {
        contract.LOGITS: Signature(_LOGITS, (contract.ROWS, model.vocab_size)),
        contract.NEXT_IDS: Signature(_INDICES, (contract.ROWS,)),
        contract.SEG_HIDDEN: Signature(_POOLED, (batch, contract.SEQUENCE, model.embed_size)),
        **{name(layer): new for layer in layers for name in (contract.new_key, contract.new_value)},
    }
    return inputs, outputs


def _mask_decoder(model: ModelFacts, batch: int | str, features: Signatures) -> tuple[Signatures, Signatures]:
    """Inputs and outputs; it takes the ``features`` as the image encoder gives them."""
    inputs = {
        contract.SEG_EMBED: Signature(_POOLED, (batch, 1, model.embed_size)),
        contract.CONDITION_EMBEDS: Signature(_POOLED, (batch, contract.CONDITIONS, model.embed_size)),
        **features,
    }
    outputs = {
        contract.CLASS_LOGITS: Signature(_LOGITS, (batch, model.num_queries, contract.CLASSES)),
        contract.MASK_LOGITS: Signature(_LOGITS, (batch, model.num_queries, *model.mask_grid)),
    }
    return inputs, outputs
