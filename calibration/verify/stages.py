"""Running a recorded reference through a bundle, stage by stage.

Every stage is fed by the one before it, as a user runs it: pixels come from the image file, features from these
pixels, embeddings from these features. Only what the official code drew at random is taken from the recording: the
wording of prompt and answer, and the points that regions are sampled at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xsam_edge.calibration.verify import compare, postprocessing
from xsam_edge.calibration.verify.checks import Checks, Outcome
from xsam_edge.calibration.verify.compare import Bounds, Comparison, Measure
from xsam_edge.calibration.verify.reference import Reference, read_task, unread
from xsam_edge.runtime.chain.pipeline import Float, ImageFeatures
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.image.preprocess import mask_pixels, mask_prompt, vision_pixels
from xsam_edge.runtime.image.regions import region_mask
from xsam_edge.runtime.image.resize import Frame, input_resizer, restore_mask
from xsam_edge.runtime.language.answer import MAX_NEW_TOKENS, Answer, Request
from xsam_edge.runtime.language.prompts import Prompt
from xsam_edge.runtime.language.sequence import Expanded
from xsam_edge.runtime.language.speculative import NO_DRAFT
from xsam_edge.runtime.language.tokenizer import REGION_ID, Ids, phrase_spans, seg_positions
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Step, silent

# Rows of a prompt whose logits are held at a time: 256 rows of 151,672 are 155 MB.
_CHUNK = 256
# Tokens that a generation may run on beyond the recorded one before it is cut.
_OVERRUN = 16


@dataclass(frozen=True, eq=False)
class _Looked:
    features: ImageFeatures
    frame: Frame


def verify(model: XSam, reference: Reference, progress: Progress = silent) -> Outcome:
    """Compare a bundle with a reference; ``progress`` is told of each file that is begun.

    Raises:
        InputError: the reference is damaged.
    """
    bounds = compare.bounds_of(model.manifest.precision)
    total = 1 + len(reference.tasks)
    progress(Step("verify", 0, total, "files", reference.image.name))
    looked, done, skipped = _look(model, reference, bounds)
    for number, path in enumerate(reference.tasks, 1):
        progress(Step("verify", number, total, "files", path.stem))
        skipped |= {f"{path.stem}:{name}": count for name, count in unread(path).items()}
        for recording in read_task(path):
            checks = Checks(recording, bounds)
            try:
                _task(model, reference, looked, checks)
            except XSamError:
                raise
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise InputError(
                    f"{path}: its {recording.mode} recording has another form than expected "
                    f"({type(error).__name__}: {error}); record it again"
                ) from error
            done += checks.done
            skipped |= checks.skipped()
    return Outcome(tuple(done), skipped)


def _look(model: XSam, reference: Reference, bounds: Bounds) -> tuple[_Looked, list[Comparison], dict[str, int]]:
    settings = model.manifest.settings
    picture = load_image(reference.image)
    pixel_values = vision_pixels(picture, settings.vision_input)
    mask_pixel_values, scaled = mask_pixels(picture, settings.mask_input)
    features = model.encode(pixel_values, mask_pixel_values)
    size = (settings.mask_input.height, settings.mask_input.width)
    looked = _Looked(features, Frame((picture.height, picture.width), scaled, size))
    if reference.features is None:
        return looked, [], {}
    checks = Checks(reference.features, bounds)
    checks.numbers("preprocess", "pixel_values", pixel_values, "pixels")
    checks.numbers("preprocess", "extra_pixel_values", mask_pixel_values, "pixels")
    height, width = settings.model.region_grid
    split = settings.model.image_tokens - height * width
    checks.numbers("image encoder", "visual_projector", features.image_embeds[:split])
    checks.numbers("image encoder", "seg_projector", features.image_embeds[split:])
    for name, buffer in features.buffers.items():
        checks.numbers("image encoder", f"pixel_decoder.{name}", model.pipeline.backend.download(buffer))
    return looked, checks.done, checks.skipped()


def _task(model: XSam, reference: Reference, looked: _Looked, checks: Checks) -> None:
    recording, language = checks.recording, model.language
    for name, size in (("image_size", looked.frame.image_size), ("scaled_size", looked.frame.scaled_size)):
        if recorded := recording.size(name):
            checks.add("preprocess", f"meta.{name}", "ids", compare.numbers(np.array(size), np.array(recorded)))
    bos = model.manifest.settings.prompt.bos if recording.meta.get("bos") else ""
    text, answer = bos + recording.text("input_text"), recording.text("output_text")
    parts = [language.tokenizer.encode_prompt(text)]
    if recording.mode == "tensor":
        parts += [language.tokenizer.encode(part) for part in (answer, recording.text("sep")) if part]
    sequence = _layout(model, np.concatenate(parts), checks)
    region_count = int((parts[0] == REGION_ID).sum())
    prompt_masks = _prompt_masks(model, reference, looked, region_count, checks)
    regions = _region_tokens(model, looked.features, region_count, checks)
    if region_count and regions is None:
        return  # without the points that were drawn nothing further can be equal
    for name in ("expanded.inputs_embeds", "llm.inputs_embeds"):
        if name in recording:
            checks.numbers("prompt", name, language.embed(sequence, looked.features, regions))
    if recording.mode == "tensor":
        _every_position(model, sequence, looked.features, regions, checks)
        prompt = Prompt("refseg", text, answer)  # the task does not matter where nothing is foreseen
        (answered,) = language.generate([Request(prompt, regions, append=True)], looked.features)
    else:
        answered = _generate(model, text, len(sequence), looked.features, regions, checks)
    _segment(model, reference, looked, answered, prompt_masks, checks)


def _layout(model: XSam, ids: Ids, checks: Checks) -> Expanded:
    """The sequence of a prompt, its integers compared before and after the image and the regions are filled in."""
    tokens = model.manifest.settings.tokens
    checks.numbers("prompt", "input_ids", ids, "ids")
    checks.numbers("prompt", "cond_ids", phrase_spans(ids, tokens), "ids")
    checks.numbers("prompt", "seg_ids", seg_positions(ids, tokens), "ids")
    sequence = model.language.layout(ids)
    checks.numbers("prompt", "expanded.input_ids", sequence.input_ids, "ids")
    checks.numbers("prompt", "expanded.cond_ids", sequence.cond_ids, "ids")
    checks.numbers("prompt", "expanded.seg_ids", sequence.seg_ids, "ids")
    return sequence


def _prompt_masks(
    model: XSam, reference: Reference, looked: _Looked, region_count: int, checks: Checks
) -> list[npt.NDArray[np.uint8]]:
    """The regions of a prompt on the mask encoder's input."""
    if not region_count:
        return []
    drawn = [
        region_mask(path, looked.frame.image_size)
        for path in reference.region_masks(checks.recording.file, region_count)
    ]
    scaled = [mask_prompt(mask, model.manifest.settings.mask_input) for mask in drawn]
    checks.numbers("region sampler", "vprompt_masks.0", np.stack(scaled), "ids")
    return scaled


def _region_tokens(model: XSam, features: ImageFeatures, region_count: int, checks: Checks) -> Float | None:
    """The tokens of a prompt's regions, from the recorded points; None where these are missing."""
    recording = checks.recording
    points = recording.numbered("sampler.points_yx")
    if not region_count or len(points) != region_count:
        return None
    checks.used |= {f"sampler.points_yx.{index}" for index in range(region_count)}
    tokens = model.language.region_tokens(features, np.stack(points))
    if (name := "vision_sampler.0") in recording:
        # [R, tokens, C], or [R, C] where a region has one token.
        recorded = recording[name]
        theirs = recorded.reshape(tokens.shape) if recorded.size == tokens.size else recorded
        checks.add("region sampler", name, "floats", compare.numbers(tokens, theirs))
    return tokens


def _every_position(
    model: XSam, sequence: Expanded, features: ImageFeatures, regions: Float | None, checks: Checks
) -> None:
    """Logits and projected states of all positions, which no task asks for, in one pass over the sequence."""
    recording = checks.recording
    names = [name for name in ("llm.logits", "llm_projector.0") if name in recording]
    if not names:
        return
    recorded = {name: recording[name].reshape(-1, recording[name].shape[-1]) for name in names}
    measures: dict[str, list[Measure]] = {name: [] for name in names}
    model.language.forget()  # the cache is about to hold another sequence
    model.pipeline.cache.truncate(0)
    embeds = model.language.embed(sequence, features, regions)
    for rows, logits, hidden in _chunks(model, embeds, logits="llm.logits" in names):
        for name in names:
            ours = logits if name == "llm.logits" else hidden
            measures[name].append(compare.numbers(ours, recorded[name][rows]))
    for name in names:
        missing = len(recorded[name]) != len(sequence)
        note = Measure(0, np.inf, np.inf, note=f"{len(sequence)} rows, recorded {len(recorded[name])}")
        checks.add("llm", name, "floats", compare.worst([*measures[name], *([note] if missing else [])]))


def _chunks(model: XSam, embeds: Float, *, logits: bool) -> Iterator[tuple[slice, Float, Float]]:
    for start in range(0, embeds.shape[1], _CHUNK):
        part = embeds[:, start : start + _CHUNK]
        rows = np.arange(part.shape[1] if logits else 0, dtype=np.int64)
        done = model.pipeline.forward(np.ascontiguousarray(part), rows)
        yield slice(start, start + part.shape[1]), done.logits(), done.hidden()[0]


def _generate(
    model: XSam, text: str, prompt_rows: int, features: ImageFeatures, regions: Float | None, checks: Checks
) -> Answer:
    recording, judged = checks.recording, checks.bounds.tokens
    recorded = recording["generated_ids"].ravel() if "generated_ids" in recording else None
    limit = MAX_NEW_TOKENS
    if recorded is not None:
        # A recording that was cut is cut at the same place; one that ended by itself must end by itself here too.
        ended = recording.text("generated_text").endswith(model.manifest.settings.prompt.stop_words)
        limit = max(1, len(recorded)) + (_OVERRUN if ended else 0)
    request = Request(Prompt("refseg", text, None), regions, max_new_tokens=limit, draft=NO_DRAFT)
    (answer,) = model.language.generate([request], features, every_row=True)
    if recorded is not None:
        checks.add("generation", "generated_ids", "ids", compare.numbers(answer.ids, recorded), judged)
    for name, ours in (("generated_text", answer.text), ("generated_phrases", list(answer.phrases))):
        if (theirs := recording.meta.get(name)) is not None:
            differs = ours != theirs
            note = f"{ours!r}, recorded {theirs!r}" if differs else ""
            checks.add("generation", f"meta.{name}", "text", Measure(1, float(differs), note=note), judged)
    if recorded is None or np.array_equal(answer.ids, recorded):
        # Of a cached image the rows were computed for an earlier prompt, and compared there.
        checks.numbers(
            "llm", "llm_projector.0", answer.hidden[: prompt_rows - answer.first], part=np.s_[:, answer.first :]
        )
        checks.numbers("llm", "llm_projector.1", answer.hidden, part=np.s_[:, answer.first :])
    return answer


def _segment(
    model: XSam,
    reference: Reference,
    looked: _Looked,
    answer: Answer,
    prompt_masks: list[npt.NDArray[np.uint8]],
    checks: Checks,
) -> None:
    recording, settings = checks.recording, model.manifest.settings
    answered = answer.seg is not None and answer.conditions is not None
    expected = "class_queries_logits" in recording or isinstance(recording.meta.get("post"), dict)
    if answered != expected and not (answered and recording.meta.get("official_exception")):
        note = "only the model segments" if answered else "only the recording has a segmentation"
        checks.add("mask decoder", "answered", "ids", Measure(1, 1.0, note=note), judged=checks.bounds.tokens)
    if answer.seg is None or answer.conditions is None:
        return
    for name in ("seg_embeds", "seg_embeddings"):
        checks.numbers("embeddings", f"segmentor.in.{name}", answer.seg)
    for name in ("cond_embeds", "cond_embeddings"):
        # The recorded last row is the background, which the mask decoder adds itself.
        checks.numbers("embeddings", f"segmentor.in.{name}", answer.conditions, part=np.s_[:, :-1])
    class_logits, mask_logits = model.pipeline.decode_masks(looked.features, answer.seg, answer.conditions)
    class_logits, mask_logits = class_logits.copy(), mask_logits.copy()
    checks.numbers("mask decoder", "class_queries_logits", class_logits)
    if not np.isfinite(class_logits).all():
        if "class_queries_logits" not in recording:
            note = "class logits are not finite"
            checks.add("mask decoder", "class_queries_logits", "floats", Measure(1, np.inf, np.inf, note=note))
        return
    checks.numbers("mask decoder", reference.last_masks, mask_logits)
    if "masks_queries_logits" in recording:
        whole = Frame(looked.frame.input_size, looked.frame.input_size, looked.frame.input_size)
        resizer = input_resizer((mask_logits.shape[1], mask_logits.shape[2]), whole)
        theirs = recording["masks_queries_logits"][0]
        parts = [
            compare.numbers(resizer.resize(ours[None]), part) for ours, part in zip(mask_logits, theirs, strict=False)
        ]
        checks.add("mask decoder", "masks_queries_logits", "floats", compare.worst(parts))
    shown = [restore_mask(mask, looked.frame) for mask in prompt_masks]
    decoded = postprocessing.Decoded(
        class_logits, mask_logits, looked.frame, settings.interactive_match, settings.semantic_resize,
        shown[0] if shown else None,
    )  # fmt: skip
    for options in postprocessing.recorded_options(recording, reference.task_config(recording.file)):
        checks.numbers("region sampler", f"{options.key}.vprompt_masks", np.array(shown), "ids")
        _postprocess(options, decoded, checks)


def _postprocess(options: postprocessing.RecordedOptions, decoded: postprocessing.Decoded, checks: Checks) -> None:
    bounds = checks.bounds
    judged = bounds.variants or options.key == "post"

    def fits(measures: list[compare.KeyMeasure]) -> bool:
        return all(compare.judge(measure, kind, bounds)[1] for _, kind, measure in measures)

    measured = postprocessing.measure(options, decoded, checks.recording)
    note = ""
    if not fits(measured):
        for moved in postprocessing.nearby(options, bounds.threshold):
            other = postprocessing.measure(moved, decoded, checks.recording)
            if fits(other):
                measured, note = other, f"a score lies within {bounds.threshold:g} of a threshold"
                break
    for key, kind, measure in measured:
        checks.add("postprocess", key, kind, compare.noted(measure, note), judged)
