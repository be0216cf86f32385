from dataclasses import replace

import pytest
import torch

from xsam_edge.export.config.variants import language_model_types
from xsam_edge.export.models.llm import CausalLM, Rotary, cached_attention, joined_attention, packed, rotate, visibility
from xsam_edge.export.models.masking import hide
from xsam_edge.export.models.random_weights import init_weights
from xsam_edge.runtime.errors import CheckpointError


def _run(llm, embeds, start, past):
    length = embeds.shape[1]
    positions = torch.arange(start, start + length)
    with torch.no_grad():
        return llm(embeds, positions[None], past, torch.arange(length))


def _extended(past, new):
    return [
        (torch.cat((keys, new_keys), 1), torch.cat((values, new_values), 1))
        for (keys, values), (new_keys, new_values) in zip(past, new, strict=True)
    ]


def test_phi3_matches_the_record(phi3):
    run, llm, states = phi3.tensors("img_refseg"), phi3.model.llm, []
    hook = llm.model.layers[0].register_forward_hook(lambda module, args, output: states.append(output[0]))
    hidden, logits, new = _run(llm, run["tensor/expanded.inputs_embeds"], 0, llm.empty_cache())
    hook.remove()
    torch.testing.assert_close(states[0], run["tensor/llm.hidden.1"], atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden, run["tensor/llm.hidden.2"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, run["tensor/llm.logits"][0], atol=2e-5, rtol=0)
    assert all(tensor.shape == (1, hidden.shape[1], 4, 16) for pair in new for tensor in pair)


@pytest.mark.parametrize("chunks", [(40, 27, 1, 1, 1), (1, 69), (70,)])
@pytest.mark.parametrize("name", ["phi3", "qwen3", "llama"])
def test_chunks_equal_one_forward(request, name, chunks):
    """Also across the sliding window, which is made shorter than a chunk."""
    recorded = request.getfixturevalue(name)
    llm = CausalLM(replace(recorded.config.llm, sliding_window=9))
    llm.load_state_dict(recorded.model.llm.state_dict())
    embeds = torch.randn(1, sum(chunks), llm.config.hidden_size, generator=torch.Generator().manual_seed(0))
    hidden, logits, new = _run(llm, embeds, 0, llm.empty_cache())
    past, start = llm.empty_cache(), 0
    for length in chunks:
        part = slice(start, start + length)
        part_hidden, part_logits, part_new = _run(llm, embeds[:, part], start, past)
        torch.testing.assert_close(part_hidden, hidden[:, part], atol=2e-5, rtol=0)
        torch.testing.assert_close(part_logits, logits[part], atol=5e-5, rtol=0)
        past, start = _extended(past, part_new), start + length
    for pair, expected in zip(past, new, strict=True):
        torch.testing.assert_close(pair, expected, atol=2e-5, rtol=0)


def test_the_window_hides_keys(phi3):
    config = phi3.config.llm
    wide, narrow = (CausalLM(replace(config, sliding_window=window)) for window in (None, 5))
    for llm in (wide, narrow):
        llm.load_state_dict(phi3.model.llm.state_dict())
    embeds = torch.randn(1, 12, config.hidden_size, generator=torch.Generator().manual_seed(0))
    expected, found = (_run(llm, embeds, 0, llm.empty_cache())[0] for llm in (wide, narrow))
    torch.testing.assert_close(found[:, :5], expected[:, :5], atol=1e-5, rtol=0)
    assert (found[:, 5:] - expected[:, 5:]).abs().amax(-1).min() > 1e-3


def test_visibility():
    assert visibility(torch.tensor([[2, 3]]), 2, None).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert visibility(torch.tensor([[2, 3]]), 2, 2).int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]
    # Slots from the first new position on are padding.
    assert visibility(torch.tensor([[1]]), 3, None).int().tolist() == [[1, 0, 0, 1]]
    assert visibility(torch.tensor([[2, 3]]), 4, 2).int().tolist() == [[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1]]
    assert visibility(torch.tensor([[0]]), 2, None).int().tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("name", ["phi3", "qwen3", "llama"])
def test_padding_behind_the_past_is_seen_by_nobody(request, name, window):
    recorded = request.getfixturevalue(name)
    llm = CausalLM(replace(recorded.config.llm, sliding_window=window))
    llm.load_state_dict(recorded.model.llm.state_dict())
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(1, 9, llm.config.hidden_size, generator=generator)
    _, _, past = _run(llm, embeds[:, :6], 0, llm.empty_cache())
    for new in (embeds[:, 6:7], embeds[:, 6:]):
        expected = _run(llm, new, 6, past)
        for rows in (1, 2, 50):
            rubbish = [
                tuple(100 * torch.randn(1, rows, *part.shape[2:], generator=generator) for part in pair)
                for pair in past
            ]
            for found, wanted in zip(_run(llm, new, 6, _extended(past, rubbish)), expected, strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_mask_keeps_packed_sequences_apart(qwen3):
    llm = qwen3.model.llm
    embeds = torch.randn(1, 7, llm.config.hidden_size, generator=torch.Generator().manual_seed(0))
    first, second = embeds[:, :4], embeds[:, 4:]
    mask = torch.block_diag(torch.ones(4, 4).tril(), torch.ones(3, 3).tril()).bool()
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2]])
    hidden, _, _ = llm(embeds, positions, llm.empty_cache(), torch.arange(0), mask)
    torch.testing.assert_close(hidden[:, :4], _run(llm, first, 0, llm.empty_cache())[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden[:, 4:], _run(llm, second, 0, llm.empty_cache())[0], atol=1e-5, rtol=0)


def test_grouped_queries_equal_repeated_keys():
    torch.manual_seed(0)
    query, bias = torch.randn(1, 3, 6, 8), torch.zeros(3, 5 + 3)
    bias[0, -2:] = -3e4
    new, past = (tuple(torch.randn(1, n, 2, 8) for _ in range(2)) for n in (3, 5))
    keys, values = (torch.cat(pair, 1).repeat_interleave(3, dim=2) for pair in zip(past, new, strict=True))
    weights = torch.softmax(torch.einsum("bqhd,bkhd->bhqk", query, keys) + bias, -1)
    expected = torch.einsum("bhqk,bkhd->bqhd", weights, values).flatten(2)
    for attend in (cached_attention, joined_attention):
        torch.testing.assert_close(attend(query, new, past, bias), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask_axes", [2, 3])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_batch_in_one_sequence_equals_one_of_several(groups, mask_axes):
    torch.manual_seed(0)
    batch, length, past_length = 2, 3, 5
    query = torch.randn(batch, length, 2 * groups, 8)
    past, new = (tuple(torch.randn(b, n, 2, 8) for _ in range(2)) for b, n in ((1, past_length), (batch, length)))
    seen = torch.rand(batch, length, past_length + length) > 0.3
    seen[:, :, 0] = True
    seen = seen if mask_axes == 3 else seen[0]
    bias = hide(~seen[:, None] if mask_axes == 3 else ~seen, torch.float32)
    expected = cached_attention(query, new, past, bias)
    found = joined_attention(query, new, past, hide(~packed(seen, batch, past_length), torch.float32))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["phi3", "qwen3", "llama"])
def test_dialects_agree(request, name):
    recorded = request.getfixturevalue(name)
    models = [CausalLM(replace(recorded.config.llm, sliding_window=9), dialect) for dialect in ("cpu", "gpu", "cuda")]
    for llm in models:
        llm.load_state_dict(recorded.model.llm.state_dict())
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(1, 12, models[0].config.hidden_size, generator=generator)
    _, _, past = _run(models[0], embeds, 0, models[0].empty_cache())
    batch = torch.randn(3, 7, models[0].config.hidden_size, generator=generator)
    expected, *others = (_run(llm, batch, 10, past) for llm in models)  # behind ten tokens and two rows of padding
    for other in others:
        for found, wanted in zip(other, expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)


def test_rotation_depends_on_the_distance_only(phi3):
    config = phi3.config.llm
    query, key = torch.randn(2, 1, 1, 1, config.head_dim)
    products = []
    for start in (0, 1000):
        tables = [Rotary(config)(torch.tensor([[start + step]])) for step in (0, 3)]
        products.append((rotate(query, *tables[1]) * rotate(key, *tables[0])).sum().item())
    assert products[0] == pytest.approx(products[1], abs=1e-3)
    assert torch.equal(rotate(query, *Rotary(config)(torch.tensor([[0]]))), query)


def test_logits_are_computed_where_asked(qwen3):
    llm = qwen3.model.llm
    embeds = torch.randn(1, 6, llm.config.hidden_size, generator=torch.Generator().manual_seed(0))
    _, logits, _ = _run(llm, embeds, 0, llm.empty_cache())
    _, some, _ = llm(embeds, torch.arange(6)[None], llm.empty_cache(), torch.tensor([5, 2]))
    torch.testing.assert_close(some, logits[[5, 2]], atol=1e-5, rtol=0)


def test_tied_embeddings_have_no_head(phi3, qwen3):
    assert "lm_head.weight" in phi3.model.llm.state_dict()
    assert "lm_head.weight" not in qwen3.model.llm.state_dict()


def test_the_cache_is_not_written(qwen3):
    llm = init_weights(CausalLM(qwen3.config.llm), seed=0)
    embeds = torch.randn(1, 4, llm.config.hidden_size)
    _, _, past = _run(llm, embeds, 0, llm.empty_cache())
    before = [tuple(tensor.clone() for tensor in pair) for pair in past]
    _run(llm, embeds[:, :1], 4, past)
    assert all(torch.equal(a, b) for x, y in zip(past, before, strict=True) for a, b in zip(x, y, strict=True))


def test_an_unknown_type_is_named(phi3):
    with pytest.raises(CheckpointError, match=f"'gpt2'.*expected one of {', '.join(language_model_types())}"):
        CausalLM(replace(phi3.config.llm, model_type="gpt2"))
