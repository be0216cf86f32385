from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from tests.runtime.device.test_compatibility import ENGINE
from xsam_edge.export.bundle import expected_tensors
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.engines.fit import check_fits, fit_target, options_that_fit
from xsam_edge.export.engines.footprint import at_precision, config_footprint, lower_precisions, smaller_variants
from xsam_edge.export.engines.targets import TARGETS, get_target
from xsam_edge.runtime.bundle.engine_info import EngineFigures, ProfileFigures
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.device import memory_plan as mp
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import DeviceMemoryError, InputError

PHI3 = VARIANTS["phi3"].config


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_of_a_configuration_are_those_of_its_model(name: str) -> None:
    config = VARIANTS[name].config
    counts = {key: prod(shape) for key, shape in expected_tensors(config).items()}
    embeddings = counts.pop("llm.model.embed_tokens.weight")
    exact = sum(counts.values()) + (embeddings if config.llm.tie_word_embeddings else 0)
    assert sum(config_footprint(config, name, "fp32").weights.values()) / 4 == pytest.approx(exact, rel=0.02)


def test_a_bundle_and_its_configuration_agree(phi3_fp16_bundle: Path, phi3) -> None:
    exact = mp.footprint(read_manifest(phi3_fp16_bundle))
    estimated = config_footprint(phi3.config, "phi3", "fp16")
    for field in ("cache_token", "activations", "itemsize", "image_tokens", "context_limit", "heads", "head_dim"):
        assert getattr(exact, field) == getattr(estimated, field), field
    assert exact.buffers == pytest.approx(estimated.buffers, rel=0.1)


def test_the_cache_of_phi3_is_four_tenths_of_a_megabyte_a_token() -> None:
    facts = config_footprint(PHI3, "phi3", "fp16")
    assert facts.cache_token == 2 * 32 * 3072 * 2
    rows = mp.plan(facts, 1000).as_dict()
    assert rows["key-value cache"] == 1000 * facts.cache_token


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_a_cache_of_codes_is_half_of_fp16_and_nothing_else_changes(precision: str) -> None:
    floats, codes = (config_footprint(PHI3, "phi3", precision, codes=codes) for codes in (False, True))
    assert (codes.cache_token, codes.cache_itemsize, codes.itemsize) == (2 * 32 * 3072, 1, 2)
    saved = floats.cache_token - codes.cache_token
    assert floats.buffers - codes.buffers == saved, "one new token's"
    difference = {
        key: size - mp.plan(codes, 4096).as_dict()[key] for key, size in mp.plan(floats, 4096).as_dict().items()
    }
    assert {key: size // saved for key, size in difference.items() if size} == {
        "key-value cache": 4096,
        "new rows before they are in the cache": 512,
        "features and outputs": 1,
    }
    assert at_precision(codes, "fp16").cache_token == codes.cache_token
    others = [*lower_precisions(codes), *smaller_variants(codes)]
    assert others and {other.cache_itemsize for other in others} == {1}
    assert {other.cache_itemsize for other in lower_precisions(floats)} <= {2}


def test_a_bundles_cache_is_told_from_its_activations(phi3_fp16_bundle: Path) -> None:
    manifest = read_manifest(phi3_fp16_bundle)
    llm = manifest.graphs["llm"]
    inputs, outputs = (
        tuple(replace(item, dtype="int8") if item.name.startswith(("past", "new")) else item for item in tensors)
        for tensors in (llm.inputs, llm.outputs)
    )
    coded = replace(manifest, graphs={**manifest.graphs, "llm": replace(llm, inputs=inputs, outputs=outputs)})
    coded.check()
    half, codes = mp.footprint(manifest), mp.footprint(coded)
    assert (2 * codes.cache_token, codes.itemsize, codes.cache_itemsize) == (half.cache_token, 2, 1)
    assert codes.scratch_bytes("llm", 100) == half.scratch_bytes("llm", 100)


def test_two_streams_have_two_blocks_of_activations() -> None:
    facts = config_footprint(PHI3, "phi3", "fp16")
    sizes = facts.activations
    for context in (1900, 4096):
        wanted = mp.plan(facts, context)
        answers = 2 * max(sizes.mask_decoder, sizes.llm(context))
        blocks = [wanted.as_dict()[f"activations{which} (estimate)"] for which in ("", " of a second stream")]
        assert sorted(blocks) == sorted([2 * sizes.image_encoder, answers])
        assert blocks[0] == max(blocks)
        rows = {row.what: row.place for row in wanted.rows}
        assert rows["activations of a second stream (estimate)"] == "own device"


def test_what_the_compiler_told_is_counted(phi3_fp16_bundle: Path) -> None:
    manifest = read_manifest(phi3_fp16_bundle)
    told = {"image_encoder": 7, "llm": 30, "mask_decoder": 20}
    figures = {
        name: EngineFigures(9, {"a": ProfileFigures(1), "b": ProfileFigures(size)}) for name, size in told.items()
    }
    engine = replace(ENGINE, figures=figures)
    rows = mp.plan(mp.footprint(replace(manifest, engine=engine)), 300).as_dict()
    assert (rows["activations"], rows["activations of a second stream"]) == (30, 7)
    silent = replace(engine, figures={name: EngineFigures(9, {}) for name in told})
    assert "activations (estimate)" in mp.plan(mp.footprint(replace(manifest, engine=silent)), 300).as_dict()


def test_new_rows_that_wait_for_the_cache_are_counted() -> None:
    facts = config_footprint(PHI3, "phi3", "fp16")
    name = "new rows before they are in the cache"
    assert mp.plan(facts, 4096).as_dict()[name] == 512 * facts.cache_token
    assert mp.plan(facts, 300).as_dict()[name] == 300 * facts.cache_token


def test_a_jetsons_host_memory_is_its_devices_and_it_has_one_block() -> None:
    wanted = mp.plan(config_footprint(PHI3, "phi3", "fp16"), 2048)
    host, own = (sum(row.bytes for row in wanted.rows if row.place == place) for place in ("host", "own device"))
    assert wanted.needed(shared=True) - wanted.needed(shared=False) == host - own
    assert host > 0 and own > 0


@pytest.mark.parametrize("name", ["phi3", "qwen3-4b"])
def test_a_context_that_cannot_be_built_is_told_one_that_can(name: str) -> None:
    config = VARIANTS[name].config
    config = replace(config, llm=replace(config.llm, context_length=1 << 18))
    facts = config_footprint(config, name, "fp16")
    with pytest.raises(InputError, match=r"a context of 40000 tokens cannot be built: .* --context 30464 would fit"):
        fit_target(facts, 40000, TARGETS["auto"])
    assert fit_target(facts, 30464, TARGETS["auto"]).memory.context == 30464
    for target in ("thor", "h100"):
        assert fit_target(facts, 0, TARGETS[target]).memory.context == 8192


def test_what_does_not_fit_is_refused_and_told_what_would() -> None:
    facts = config_footprint(PHI3, "phi3", "fp16")
    with pytest.raises(DeviceMemoryError) as caught:
        check_fits(fit_target(facts, 2048, TARGETS["orin-nano"]))
    message = str(caught.value)
    assert "phi3 in fp16 with a context of 2048 tokens needs" in message
    assert "--precision int4" in message
    assert "--precision fp32" not in message
    assert "--variant qwen3-1.7b" in message
    check_fits(fit_target(at_precision(facts, "int4"), 2048, TARGETS["orin-nano"]))


def test_a_shorter_context_is_the_first_advice() -> None:
    facts = config_footprint(PHI3, "phi3", "fp16")
    memory = TARGETS["rtx-40"].memory
    assert memory is not None
    tight = replace(memory, total=memory.reserved + mp.plan(facts, 3000).needed(False))
    advice = list(options_that_fit(facts, 4096, replace(TARGETS["rtx-40"], memory=tight)))
    assert "--precision fp8" in advice[1] and not any("int8" in option for option in advice)
    assert advice[0] == "--context 2816"
    assert mp.plan(facts, 2816).needed(False) <= tight.available


@pytest.mark.parametrize(
    ("gib", "count"), [(7, 1), (7.5, 2), (12, 3), (14, 4)], ids=["variant", "both", "precision", "context"]
)
def test_every_advice_fits(gib: float, count: int) -> None:
    facts = config_footprint(VARIANTS["qwen3-4b"].config, "qwen3-4b", "fp16")
    target = get_target("orin-nx", memory=int(gib * mp.GIB))
    memory = target.memory
    assert memory is not None
    advice = list(options_that_fit(facts, 4096, target))
    assert len(advice) == count, advice
    for option in advice:
        pairs = option.split(" (")[0].split()
        words = dict(zip(pairs[::2], pairs[1::2], strict=True))
        variant = words.get("--variant", "qwen3-4b")
        other = config_footprint(VARIANTS[variant].config, variant, words.get("--precision", "fp16"))
        context = int(words.get("--context", 4096))
        assert mp.plan(other, context).needed(memory.shared) <= memory.available * 1.02, option


@pytest.mark.parametrize(("gib", "variant"), [(8, "qwen3-1.7b"), (5, "smollm2-360m")])
def test_the_largest_variant_that_fits_is_advised(gib: int, variant: str) -> None:
    facts = config_footprint(VARIANTS["qwen3-4b"].config, "qwen3-4b", "fp16")
    target = get_target("orin-nx", memory=gib << 30)
    assert f"--variant {variant} " in list(options_that_fit(facts, 4096, target))[-1]


def test_nothing_helps_where_nothing_helps() -> None:
    facts = config_footprint(PHI3, "phi3", "int4")
    memory = mp.DeviceMemory(3 << 30, 2 << 30, shared=True)
    target = replace(TARGETS["orin-nano"], memory=memory)
    assert list(options_that_fit(facts, 4096, target)) == []
    with pytest.raises(DeviceMemoryError, match="no precision, context or variant"):
        check_fits(fit_target(facts, 4096, target))


def test_an_unknown_target_memory_refuses_nothing() -> None:
    check_fits(fit_target(config_footprint(PHI3, "phi3", "fp32"), 4096, TARGETS["auto"]))


def test_the_table_names_every_row_and_the_verdict(phi3_bundle: Path) -> None:
    wanted = mp.plan(mp.footprint(read_manifest(phi3_bundle)), 64)
    text = mp.table(wanted, TARGETS["orin-nano"].memory, "orin-nano")
    for row in wanted.rows:
        assert row.what in text
    assert "orin-nano: 8.59 GB" in text and text.endswith("fits")
    small = mp.table(wanted, mp.DeviceMemory(2, 1, shared=False), "tiny")
    assert small.endswith("does not fit")


def test_loading_refuses_what_does_not_fit_the_gpu(phi3_bundle: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    facts = mp.footprint(manifest)
    context = facts.image_tokens + 600
    needed = mp.plan(facts, context).needed(False)
    device = DeviceInfo("GPU", "8.9", needed + mp.GIB // 2, integrated=False, driver="", cuda="")
    assert mp.check_memory(manifest, context, device).context == context
    smaller = replace(device, memory=device.memory - 1)
    with pytest.raises(DeviceMemoryError, match=r"GPU has .* to give; load it with --context \d+"):
        mp.check_memory(manifest, context, smaller)
    with pytest.raises(DeviceMemoryError, match="lower precision or a smaller variant"):
        mp.check_memory(manifest, context, replace(device, memory=mp.GIB // 2))


def test_bundles_that_do_not_record_activations_get_typical_ones(phi3_bundle: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    assert manifest.activations is not None
    old = mp.footprint(replace(manifest, activations=None))
    assert old.activations.llm(64) > 0
    assert old.activations.image_encoder > 0
