import pytest
import torch

from xsam_edge.export import reference
from xsam_edge.export.reference import IMAGE_ID, NO_ID, REGION_ID

POOLING = {"": (4, "mean"), "aaai_": (256, "max")}


def _regions(recorded, run, mode, image):
    points = [run[key] for key in sorted(run) if key.startswith(f"{mode}/sampler.points_yx.")]
    if not points:
        return None
    mask_tokens = image.image_embeds[0, recorded.config.vision_tokens :]
    return reference.sample_regions(mask_tokens, torch.stack(points), *POOLING[recorded.line])


def _prompt(recorded, run, mode, image):
    ids = run[f"{mode}/input_ids"]
    conditions = run.get(f"{mode}/cond_ids", torch.full_like(ids, NO_ID))
    return reference.expand(recorded.model, ids, conditions, image.image_embeds, _regions(recorded, run, mode, image))


def _check(run, mode, found):
    expected = run.get(f"{mode}/class_queries_logits")
    assert (found is None) == (expected is None)
    if found is not None:
        torch.testing.assert_close(found.class_logits, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.mask_logits, run[f"{mode}/decoder.masks_lowres.3"], atol=1e-4, rtol=0)


@pytest.fixture
def image(recorded):
    return reference.encode_image(
        recorded.model, recorded.tensors("image_features")["pixel_values"], recorded.mask_pixels
    )


def _runs(recorded, mode):
    """The recorded runs with all of their inputs; at least one per kind of prompt."""
    runs = {task: recorded.tensors(task) for task in recorded.tasks()}
    runs = {task: run for task, run in runs.items() if f"{mode}/expanded.input_ids" in run}
    assert {"img_gcgseg", "img_genseg", "img_refseg", "img_vgdseg"} <= set(runs)
    return runs.values()


def test_answers_that_are_given(recorded, image):
    """Every recorded task, the answer appended: one forward gives phrases and <SEG>."""
    for run in _runs(recorded, "tensor"):
        prompt = _prompt(recorded, run, "tensor", image)
        state = reference.prefill(recorded.model, prompt.inputs_embeds)
        seg_ids = run.get("tensor/expanded.seg_ids", torch.full_like(prompt.condition_ids, NO_ID))
        if "tensor/expanded.cond_ids" in run:
            assert torch.equal(prompt.condition_ids, run["tensor/expanded.cond_ids"])
        seg_positions = (seg_ids[0] != NO_ID).nonzero()[:, 0].tolist()
        found = reference.segment(recorded.model, image, state.hidden, prompt.condition_ids, seg_positions)
        _check(run, "tensor", found)


def test_answers_that_are_generated(recorded, image):
    """Every recorded task by greedy decoding: ids, and phrases that the answer names."""
    seg, phrase_start, phrase_end = recorded.facts["special_tokens"]["tiny_ids"]
    for run in _runs(recorded, "predict"):
        prompt = _prompt(recorded, run, "predict", image)
        length = prompt.inputs_embeds.shape[1]
        expected = run["predict/generated_ids"][0].tolist()
        state = reference.prefill(recorded.model, prompt.inputs_embeds)
        answer = reference.decode_greedy(recorded.model, state, {expected[-1]})
        assert answer.ids == expected
        assert answer.hidden.shape[1] == length + len(expected) - 1
        named = reference.generated_conditions(length, answer.ids, phrase_start, phrase_end)
        conditions = prompt.condition_ids if named is None else named
        seg_positions = [length + index for index, token in enumerate(answer.ids[:-1]) if token == seg]
        found = reference.segment(recorded.model, image, answer.hidden, conditions, seg_positions)
        _check(run, "predict", found)


def test_projected_hidden_states_match_the_record(phi3):
    run = phi3.tensors("img_refseg")
    state = reference.prefill(phi3.model, run["predict/expanded.inputs_embeds"])
    answer = reference.decode_greedy(phi3.model, state, {run["predict/generated_ids"][0, -1].item()})
    embeds = phi3.model.llm_projector(answer.hidden)
    torch.testing.assert_close(embeds, run["predict/llm_projector.1"], atol=1e-5, rtol=0)


def test_decoding_stops_at_the_limit(phi3):
    state = reference.prefill(phi3.model, phi3.tensors("img_refseg")["predict/expanded.inputs_embeds"])
    full = reference.decode_greedy(phi3.model, state, (), max_new_tokens=5)
    assert len(full.ids) == 5
    assert reference.decode_greedy(phi3.model, state, {full.ids[2]}, 5).ids == full.ids[:3]
    assert reference.decode_greedy(phi3.model, state, (), max_new_tokens=1).ids == full.ids[:1]


def test_regions_match_the_record(phi3):
    run, images = phi3.tensors("img_vgdseg"), phi3.tensors("image_features")
    points = torch.stack([run[f"tensor/sampler.points_yx.{index}"] for index in range(2)])
    tokens = reference.sample_regions(images["seg_projector"][0], points, 4, "mean")
    torch.testing.assert_close(tokens, run["tensor/vision_sampler.0"], atol=1e-5, rtol=0)


def test_placeholders_without_regions_are_an_error(phi3):
    ids = torch.tensor([[IMAGE_ID, REGION_ID]])
    with pytest.raises(ValueError, match="region"):
        reference.expand(phi3.model, ids, torch.full_like(ids, NO_ID), torch.zeros(1, 2, 64))


def test_phrases_are_means_in_the_order_of_their_ids():
    embeds = torch.arange(12.0).reshape(1, 6, 2)
    pooled = reference.pool_phrases(embeds, torch.tensor([[1, NO_ID, 0, 1, 0, NO_ID]]))
    assert pooled.tolist() == [[[6.0, 7.0], [3.0, 4.0]]]
    assert reference.pool_phrases(embeds, torch.full((1, 6), NO_ID)).shape == (1, 0, 2)


def test_generated_spans_include_their_tags_but_not_the_last_token():
    spans = reference.generated_conditions(3, [1, 7, 8, 1, 9, 8, 2], phrase_start=1, phrase_end=8)
    assert spans.tolist() == [[NO_ID] * 3 + [0, 0, 0, 1, 1, 1]]
    assert reference.generated_conditions(3, [7, 8, 2], 1, 8) is None
    # A span that never ends names nothing, but still replaces the prompt's phrases.
    assert (reference.generated_conditions(3, [1, 7, 2], 1, 8) == NO_ID).all()


@pytest.mark.parametrize(("conditions", "seg_positions"), [([NO_ID, NO_ID], [1]), ([0, NO_ID], []), ([0, 0], [0, 1])])
def test_nothing_is_segmented_without_a_phrase_and_one_seg(phi3, conditions, seg_positions):
    image = reference.EncodedImage(torch.zeros(1, 1, 64), torch.zeros(1, 64, 4, 4), [])
    hidden = torch.zeros(1, 2, phi3.config.llm.hidden_size)
    assert reference.segment(phi3.model, image, hidden, torch.tensor([conditions]), seg_positions) is None
