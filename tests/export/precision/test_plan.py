from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from xsam_edge.export.precision.blocks import block_of, members
from xsam_edge.export.precision.plan import (
    GraphNames,
    NodePrecision,
    Plan,
    Quantized,
    Rule,
    assign,
    check_plan,
    matches,
    parse_plan,
    read_plan,
    resolve,
)
from xsam_edge.export.precision.presets import FP32_ISLANDS, PRECISIONS, preset
from xsam_edge.runtime.errors import InputError

BOTH = frozenset({"int8", "int4", "fp8"})
NAMES = GraphNames(
    ("/llm/layers.0/norm/Mul", "/llm/layers.0/mlp/MatMul", "/llm/layers.0/mlp/Mul", "/enc/Conv", "/enc/MatMul"),
    {"/llm/layers.0/mlp/MatMul": BOTH, "/enc/Conv": frozenset({"int8"})},
    {("/enc/Conv", "int4"): "/enc/Conv: int4 is for linear layers", ("/enc/MatMul", "int8"): "both are activations"},
)
ISLANDS = (Rule("**/*norm*/*", "fp32", "squares"),)


def of(*rules: Rule, **fields) -> dict[str, NodePrecision]:
    return resolve(Plan("fp16", ISLANDS, rules, **fields), NAMES)


def test_the_last_rule_wins() -> None:
    found = of(Rule("/llm/**", "int8"), Rule("/llm/**", "int4"), Rule("/enc/*", "int8"))
    assert found["/llm/layers.0/mlp/MatMul"] == NodePrecision("fp16", "int4")
    assert found["/enc/Conv"] == NodePrecision("fp16", "int8")
    assert found["/enc/MatMul"] == found["/llm/layers.0/mlp/Mul"] == NodePrecision("fp16")


def test_a_float_rule_takes_a_block_back_but_leaves_its_islands() -> None:
    found = of(Rule("/llm/**", "int8"), Rule("/llm/layers.0/**", "fp16"))
    assert found["/llm/layers.0/mlp/MatMul"] == NodePrecision("fp16")
    assert found["/llm/layers.0/norm/Mul"] == NodePrecision("fp32")
    assert of(Rule("/llm/**", "int8"), Rule("/llm/**", "fp32"))["/llm/layers.0/mlp/Mul"] == NodePrecision("fp32")


def test_integers_inside_of_an_island_have_float32_around_them() -> None:
    plan = Plan("fp16", (Rule("/enc/**", "fp32"),), (Rule("/enc/**", "int8"),))
    assert resolve(plan, NAMES)["/enc/Conv"] == NodePrecision("fp32", "int8")


def test_a_file_says_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    plan = Plan("fp32", ISLANDS, (Rule("/llm/**", "int8", 'raised: "why"'), Rule("/enc/*", "fp16")), "mse", False)
    path = tmp_path / "plan.json"
    path.write_text(plan.to_json())
    assert read_plan(path) == plan
    path.write_text(Plan("fp16").to_json())
    assert read_plan(path) == Plan("fp16")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no precision plan"),
        ({"format": 2}, "'format' 1"),
        ({"format": 1, "rule": []}, r"has the unknown key 'rule' \(did you mean 'rules'\?\)"),
        ({"format": 1, "float": "int8"}, r"plan\.json: float is 'int8'; expected one of fp32, fp16"),
        ({"format": 1, "smoothing": 1}, "smoothing is 1; expected true or false"),
        ({"format": 1, "ranges": 3}, "ranges is 3; expected text"),
        ({"format": 1, "rules": {}}, "rules is {}; expected a list"),
        ({"format": 1, "rules": ["/llm/**"]}, r"rules\[0\] is '/llm/\*\*'; expected an object"),
        (
            {"format": 1, "rules": [{"nodes": "/a", "precision": "int2"}]},
            r"rules\[0\]\.precision is 'int2'; expected one of fp32, fp16, int8",
        ),
        (
            {"format": 1, "rules": [{"nodes": "/a", "precision": "int8", "reason": ""}]},
            r"rules\[0\] has the unknown key 'reason'",
        ),
        (
            {"format": 1, "fp32_islands": [{"nodes": "/a", "precision": "fp32"}]},
            r"fp32_islands\[0\] has the unknown key 'precision'",
        ),
    ],
)
def test_what_is_no_plan_is_refused(content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_plan(content, "plan.json")


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(InputError, match=r"plan\.json cannot be read"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        read_plan(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("/llm/layers.9/**", "fp16"), "'/llm/layers.9/\\*\\*' of the precision plan matches no node"),
        (Rule("/enc/Conv", "int4"), "int4 of '/enc/Conv', which cannot be: /enc/Conv: int4 is for linear layers"),
        (Rule("/enc/MatMul", "int8"), "both are activations"),
        (Rule("/llm/layers.0/norm/*", "int8"), "none of its nodes is a product with a weight"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(rule: Rule, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_plan(Plan("fp16", (), (rule,)), NAMES)
    with pytest.raises(InputError, match="matches no node"):
        check_plan(Plan("fp16", (Rule("/none", "fp32"),)), NAMES)


def test_presets_leave_out_what_a_model_does_not_have() -> None:
    nodes = ("/llm/model/layers.0/mlp/MatMul", "/llm/MatMul", "/vision_encoder/patch_embedding/Conv", "/a_norm/Mul")
    able = {name: BOTH for name in nodes[:3]}
    names = GraphNames(nodes, able, {})
    for precision in PRECISIONS:
        check_plan(preset(precision, nodes), names)
    int8 = resolve(preset("int8", nodes), names)
    assert [int8[name].quantized for name in nodes] == ["int8", "int8", None, None]
    assert int8["/a_norm/Mul"].float == "fp32"
    int4 = resolve(preset("int4", nodes), names)
    assert [int4[name].quantized for name in nodes] == ["int4", "int8", None, None]
    both = resolve(preset("int4", nodes, float_type="fp32", encoders="int8"), names)
    assert all(found.float == "fp32" for found in both.values())
    assert preset("fp32", nodes) == Plan("fp32")
    assert json.loads(preset("fp16", nodes).to_json())["rules"] == []


def test_fp8_is_of_both_sides_and_of_linear_layers() -> None:
    nodes = ("/llm/model/layers.0/mlp/MatMul", "/vision_encoder/fc1/MatMul", "/seg_connector/Conv", "/seg_projector/fc")
    able = {name: frozenset[Quantized]({"int8"} if "Conv" in name else {"int8", "fp8"}) for name in nodes}
    names = GraphNames(nodes, able, {("/seg_connector/Conv", "fp8"): "/seg_connector/Conv: fp8 is for linear layers"})
    plan = preset("fp8", nodes)
    check_plan(plan, names)
    assert [resolve(plan, names)[name].quantized for name in nodes] == ["fp8", "fp8", None, "fp8"]
    with pytest.raises(InputError, match=r"fp8 of '/seg_connector/\*\*', .* fp8 is for linear layers"):
        check_plan(replace(plan, rules=(*plan.rules, Rule("/seg_connector/**", "fp8"))), names)
    mixed = resolve(preset("int4", nodes, encoders="fp8"), names)
    assert mixed["/vision_encoder/fc1/MatMul"].quantized == "fp8"


def test_a_cache_is_told_where_it_is_quantised_and_not_mentioned_else(tmp_path: Path) -> None:
    plain, coded = Plan("fp16", ISLANDS), Plan("fp16", ISLANDS, kv_cache="fp8")
    assert "kv_cache" not in plain.to_json() and json.loads(coded.to_json())["kv_cache"] == "fp8"
    for plan in (plain, coded):
        (tmp_path / "plan.json").write_text(plan.to_json())
        assert read_plan(tmp_path / "plan.json") == plan
    assert (plain.calibrates, coded.calibrates, coded.quantizes) == (False, True, False)
    assert [assign(plan, NAMES).kv_cache for plan in (plain, coded)] == [None, "fp8"]
    with pytest.raises(InputError, match="kv_cache is 'int4'"):
        parse_plan({"format": 1, "kv_cache": "int4"}, "plan")


def test_islands_are_rules_for_float32() -> None:
    assert {rule.precision for islands in FP32_ISLANDS.values() for rule in islands} == {"fp32"}


@pytest.mark.parametrize(
    ("node", "block"),
    [
        ("/llm/model/layers.3/mlp/down_proj/MatMul", "/llm/model/layers.3/mlp/**"),
        ("/llm/model/layers.3/Add", "/llm/model/layers.3/*"),
        ("/pixel_decoder/encoder/layers.0/fc1/MatMul", "/pixel_decoder/encoder/layers.0/fc1/**"),
        ("/visual_projector/model.0/MatMul", "/visual_projector/model.0/*"),
        ("/llm/MatMul", "/llm/*"),
        ("/MatMul", "/*"),
    ],
)
def test_blocks_are_parts_of_layers(node: str, block: str) -> None:
    assert block_of(node) == block
    assert matches(block, node)


def test_blocks_share_no_node() -> None:
    nodes = ["/a/Mul", "/a/layers.0/Add", "/a/layers.0/x/Mul", "/a/layers.0/x/y/Mul", "/a/layers.10/x/Mul", "/a/b/Mul"]
    blocks = members(nodes)
    assert [name for names in blocks.values() for name in names] == nodes
    for block, names in blocks.items():
        assert [name for name in nodes if matches(block, name)] == list(names)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("**/layers.*/Add*", "/llm/model/layers.3/Add_1", True),
        ("**/layers.*/Add*", "/llm/model/layers.3/mlp/Add", False),
        ("**/*norm*/*", "/llm/model/norm/Mul", True),
        ("**/*norm*/*", "/llm/model/Mul", False),
        ("/segmentor/decoder/**", "/segmentor/decoder/a/b", True),
        ("/segmentor/decoder/**", "/segmentor/pixel_decoder/a", False),
        ("/a.b/*", "/axb/c", False),
    ],
)
def test_patterns_know_path_components(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected
