import json
from functools import cache

import numpy as np
import pytest

from tests.recorded import DATA, load_reference, meta
from xsam_edge.export.tokenizer import with_special_tokens
from xsam_edge.runtime.bundle.settings import SpecialTokens
from xsam_edge.runtime.errors import BundleError, InputError
from xsam_edge.runtime.language.tokenizer import Tokenizer, phrase_spans, seg_positions

TASKS = [
    (path.parent.name, path.stem)
    for path in sorted([*DATA.glob("golden-*/img_*.npz"), *DATA.glob("golden-*/aaai_img_*.npz")])
]


@cache
def tokenizer(folder):
    path = next((DATA / folder / "inits").glob("*/tokenizer.json"))
    return Tokenizer(with_special_tokens(path.read_text()))


@cache
def special_tokens(folder):
    ids = json.loads((DATA / folder / "config.json").read_text())["special_tokens"]["tiny_ids"]
    return SpecialTokens(*ids, eos=None)


def encoded(folder, facts):
    tok = tokenizer(folder)
    ids = [tok.encode_prompt(("<s>" if facts["bos"] else "") + facts["input_text"])]
    if facts["mode"] == "tensor":
        ids += [tok.encode(facts["output_text"]), tok.encode(facts["sep"])]
    return np.concatenate(ids)


@pytest.mark.parametrize(("folder", "task"), TASKS)
@pytest.mark.parametrize("mode", ["tensor", "predict"])
def test_ids_equal_the_recorded_ones(folder, task, mode):
    arrays = load_reference(folder, task)
    ids = encoded(folder, meta(arrays, mode))
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, arrays[f"{mode}/input_ids"][0])
    if f"{mode}/cond_ids" in arrays:
        np.testing.assert_array_equal(phrase_spans(ids, special_tokens(folder)), arrays[f"{mode}/cond_ids"][0])
    if f"{mode}/seg_ids" in arrays:
        np.testing.assert_array_equal(seg_positions(ids, special_tokens(folder)), arrays[f"{mode}/seg_ids"][0])


@pytest.mark.parametrize(("folder", "task"), TASKS)
def test_text_equals_the_recorded_one(folder, task):
    arrays = load_reference(folder, task)
    facts = meta(arrays, "predict")
    ids = arrays["predict/generated_ids"][0]
    assert tokenizer(folder).decode(ids) == facts["generated_text"]
    assert tokenizer(folder).phrases(ids, special_tokens(folder)) == facts["generated_phrases"]


def test_blank_pieces_are_dropped_only_beside_markers():
    tok = tokenizer("golden-phi3")
    assert tok.encode_prompt("<image> \n<region>").tolist() == [-200, -300]
    assert tok.encode_prompt("<image>").tolist() == [-200]
    assert tok.encode_prompt("").tolist() == []
    assert len(tok.encode_prompt(" \n")) > 0


def test_a_phrase_that_holds_a_region_has_no_text():
    tok, special = tokenizer("golden-qwen3"), special_tokens("golden-qwen3")
    ids = tok.encode_prompt("<p><region></p> and <p>a cat</p>")
    assert tok.phrases(ids, special) == ["", "a cat"]
    with pytest.raises(InputError, match="-300"):
        tok.decode(ids)


def test_ill_formed_spans():
    special = SpecialTokens(seg=9, phrase_start=1, phrase_end=2, eos=None)
    assert phrase_spans(np.array([2, 0, 1]), special).tolist() == [-1, -1, -1]
    assert phrase_spans(np.array([1, 1, 0, 2, 0]), special).tolist() == [0, 0, 0, 0, -1]
    assert phrase_spans(np.array([1, 1, 0, 2, 2]), special).tolist() == [0, 1, 1, 1, 1]
    assert phrase_spans(np.array([], np.int64), special).tolist() == []
    assert seg_positions(np.array([9, 0, 9]), special).tolist() == [0, -1, 1]


def test_reserved_holds_every_control_token():
    assert {"<SEG>", "<p>", "</p>", "<|end|>", "<|user|>", "<s>", "</s>"} <= set(tokenizer("golden-phi3").reserved)
    assert {"<think>", "<|im_end|>"} <= set(tokenizer("golden-qwen3").reserved)


def test_from_file(tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(BundleError, match="export the bundle again"):
        Tokenizer.from_file(path)
    source = next((DATA / "golden-qwen3/inits").glob("*/tokenizer.json"))
    path.write_text(with_special_tokens(source.read_text(encoding="utf-8")), encoding="utf-8")
    assert Tokenizer.from_file(path).decode(Tokenizer.from_file(path).encode("a cat")) == "a cat"
