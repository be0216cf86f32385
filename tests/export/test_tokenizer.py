import json

import pytest
from tokenizers import Tokenizer

from tests.recorded import DATA
from xsam_edge.export.tokenizer import SPECIAL_TOKENS, with_special_tokens
from xsam_edge.runtime.errors import CheckpointError


def texts(folder):
    path = next((DATA / folder / "inits").glob("*/tokenizer.json"))
    return path.read_text(), (path.parent / "tokenizer_config.json").read_text()


@pytest.mark.parametrize("folder", ["golden-phi3", "golden-qwen3"])
def test_ids_follow_the_last_one_of_the_language_model(folder):
    source, config = texts(folder)
    expected = json.loads((DATA / folder / "config.json").read_text())["special_tokens"]
    made = with_special_tokens(source)
    tokenizer = Tokenizer.from_str(made)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == expected["tiny_ids"]
    assert tokenizer.get_vocab_size() == expected["tiny_vocab"]
    assert with_special_tokens(made) == made
    assert with_special_tokens(source, config) == made


def test_the_configuration_overrules_flags():
    source, config = texts("golden-phi3")
    changed = json.loads(config)
    changed["added_tokens_decoder"]["595"]["rstrip"] = False
    kept, split = (Tokenizer.from_str(with_special_tokens(source, text)) for text in (config, json.dumps(changed)))
    assert len(split.encode("<|end|>\n").ids) > len(kept.encode("<|end|>\n").ids) == 1


def test_padding_and_truncation_are_switched_off():
    tokenizer = Tokenizer.from_str(texts("golden-phi3")[0])
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    made = Tokenizer.from_str(with_special_tokens(tokenizer.to_str()))
    assert made.truncation is None
    assert made.padding is None


def test_unusable_texts():
    source, config = texts("golden-phi3")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read"):
        with_special_tokens("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json cannot be read"):
        with_special_tokens(source, "[")
    moved = json.loads(config)
    moved["added_tokens_decoder"]["700"] = moved["added_tokens_decoder"].pop("595")
    with pytest.raises(CheckpointError, match="the id 700"):
        with_special_tokens(source, json.dumps(moved))
