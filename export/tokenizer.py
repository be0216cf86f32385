"""The tokenizer of a bundle: the language model's own, with the three tokens that X-SAM adds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from xsam_edge.export.config.hub import download_tokenizer
from xsam_edge.export.config.inits import find_part, read_json
from xsam_edge.export.config.variants import Variant
from xsam_edge.runtime.bundle.constraints import matching
from xsam_edge.runtime.bundle.settings import PromptFormat
from xsam_edge.runtime.bundle.typed_json import from_json, parse_json
from xsam_edge.runtime.errors import CheckpointError
from xsam_edge.runtime.language.prompts import QUESTIONS
from xsam_edge.runtime.progress import Progress

SPECIAL_TOKENS = ("<SEG>", "<p>", "</p>")
"""In the order of their ids, which follow the language model's own."""

_NUM_BYTES = 256


TokenId = Annotated[str, matching("[0-9]{1,9}", "the id of a token")]


@dataclass(frozen=True)
class _Flags:
    """One token of ``added_tokens_decoder``; what is None is left to the library."""

    extra_keys: ClassVar[bool] = True

    content: str
    single_word: bool | None = None
    lstrip: bool | None = None
    rstrip: bool | None = None
    normalized: bool | None = None
    special: bool | None = None


@dataclass(frozen=True)
class _TokenizerConfig:
    extra_keys: ClassVar[bool] = True

    added_tokens_decoder: Mapping[TokenId, _Flags] = field(default_factory=dict)


def read_tokenizer(variant: Variant, inits: Path | None, progress: Progress) -> tuple[str, str | None]:
    """Read the tokenizer of the parts' folder, or of the variant's repository on the hub where that has none.

    Returns:
        The text of its ``tokenizer.json`` with ``SPECIAL_TOKENS``, and the text of its end token, None without one.

    Raises:
        CheckpointError: it cannot be read or downloaded.
    """
    folder = find_part(inits, "llm", variant) if inits else None
    folder = folder or download_tokenizer(variant, progress)
    try:
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder} has no readable tokenizer.json ({error}); download the part again") from None
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return with_special_tokens(tokenizer_json), None
    config = read_json(path)
    eos = config.get("eos_token")
    content = eos.get("content") if isinstance(eos, dict) else eos
    return with_special_tokens(tokenizer_json, json.dumps(config)), content


def with_special_tokens(tokenizer_json: str, tokenizer_config: str | None = None) -> str:
    """Return the text of a ``tokenizer.json`` with ``SPECIAL_TOKENS`` added after its last id.

    The same as ``_add_special_tokens`` of the official model, that is ``add_tokens(..., special_tokens=True)``. Tokens
    that are there already keep their ids, so the function may be applied twice. Padding and truncation that the
    file may ask for are switched off: a prompt must never be cut silently.

    ``tokenizer_config`` is the text of ``tokenizer_config.json``. transformers lets its ``added_tokens_decoder``
    overrule the flags of the added tokens (``rstrip`` of Phi-3's chat tokens decides whether the newline after them
    is a token), so pass it where the folder has one.

    Raises CheckpointError if a text is not what it should be, or if the two disagree about an id.
    """
    tokenizer = _parse(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for index, flags in sorted(_added_tokens(tokenizer_config).items()):
        token = AddedToken(**flags)
        tokenizer.add_special_tokens([token]) if token.special else tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != index:
            raise CheckpointError(
                f"tokenizer_config.json gives {token.content!r} the id {index}, tokenizer.json gives it "
                f"{tokenizer.token_to_id(token.content)}; take both files from the same model"
            )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer.to_str(pretty=False)


def _parse(tokenizer_json: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(
            f"tokenizer.json cannot be read ({error}); take the file of the checkpoint's language model"
        ) from error


def _added_tokens(tokenizer_config: str | None) -> dict[int, dict[str, Any]]:
    """Return the flags of ``added_tokens_decoder``, by id."""
    if tokenizer_config is None:
        return {}
    where, advice = "tokenizer_config.json", "take the model's own file"
    content = parse_json(tokenizer_config, where, CheckpointError, advice=advice)
    config = from_json(_TokenizerConfig, content, where, CheckpointError, advice=advice)
    return {
        int(index): {name: value for name, value in asdict(flags).items() if value is not None}
        for index, flags in config.added_tokens_decoder.items()
    }


def stand_in_tokenizer(prompt: PromptFormat, vocab_size: int) -> str:
    """Return the text of a ``tokenizer.json`` for a model with random weights, whose own tokenizer is not at hand.

    A byte-level BPE learned from the questions of the prompts, so that prompts have about as many tokens as with a
    real one. The template's own tokens and ``SPECIAL_TOKENS`` are added behind; every id is below ``vocab_size``.

    Raises CheckpointError if ``vocab_size`` cannot hold the bytes and the added tokens.
    """
    control = sorted(set(re.findall(r"<\|?/?\w+\|?>", prompt.instruction + prompt.answer_suffix)))
    added = [*control, *SPECIAL_TOKENS]
    room = vocab_size - len(added)
    if room < _NUM_BYTES:
        raise CheckpointError(f"a vocabulary of {vocab_size} cannot hold {_NUM_BYTES} bytes and {len(added)} tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(room, 4096),
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(QUESTIONS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in added])
    return tokenizer.to_str(pretty=False)
