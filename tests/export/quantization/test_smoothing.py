"""Smoothing moves difficulty, not results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.export.quantization.lowering import open_graph
from xsam_edge.export.quantization.sites import find_sites
from xsam_edge.export.quantization.smoothing import probed, smooth


def copied(bundle: Path, name: str, folder: Path) -> Path:
    for suffix in ("", ".data"):
        shutil.copy(bundle / f"{name}.onnx{suffix}", folder)
    return folder / f"{name}.onnx"


def inputs_of(path: Path, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {"batch": 1, "sequence": 6, "past": 4, "rows": 2, "conditions": 3}
    made = {}
    for value in ir.load(path).graph.inputs:
        shape = [axis if isinstance(axis, int) else sizes[str(axis.value)] for axis in value.shape]
        made[value.name] = np.float32(rng.standard_normal(shape))
    if "position_ids" in made:
        made["position_ids"] = np.arange(4, 10)[None]
        made["logits_positions"] = np.array([2, 5])
    return made


def outputs(path: Path, feeds: dict[str, np.ndarray], extra: list[str]) -> dict[str, np.ndarray]:
    model = ir.load(path)
    values = {value.name: value for node in model.graph for value in node.outputs}
    names = [value.name for value in model.graph.outputs]
    model.graph.outputs.extend(values[name] for name in extra if name not in names)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def statistics(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, TensorStats]:
    opened = open_graph(path)
    sites = [(site, per_channel) for site, per_channel in probed(opened.model.graph, opened.plans) if per_channel]
    seen = outputs(path, feeds, [str(site.activation.name) for site, _ in sites])
    stats = {}
    for site, _ in sites:
        rows = seen[str(site.activation.name)]
        rows = rows.reshape(-1, rows.shape[-1])
        stats[str(site.activation.name)] = one = TensorStats.empty(rows.shape[1], True)
        one.add(rows.min(0), rows.max(0), np.square(rows).sum(0), rows, len(rows))
    return stats


@pytest.mark.parametrize(
    ("bundle", "name"),
    [
        ("phi3_bundle", "llm"),
        ("phi3_bundle", "image_encoder"),
        ("phi3_gpu_bundle", "image_encoder"),
        ("qwen3_bundle", "llm"),
    ],
)
def test_outputs_stay_as_they_are(request: pytest.FixtureRequest, tmp_path: Path, bundle: str, name: str) -> None:
    path = copied(request.getfixturevalue(bundle), name, tmp_path)
    feeds = inputs_of(path, 0)
    stats = statistics(path, feeds)
    for index, one in enumerate(stats.values()):  # outliers, as large models have them
        channel = index % len(one.highest)
        one.highest[channel] *= 50
        one.squares[channel] *= 2500
    before = outputs(path, feeds, [])
    opened = open_graph(path)
    quantized = {str(site.node.name) for site in find_sites(opened.model.graph, opened.plans)}
    groups, after_stats = smooth(opened, quantized, stats)
    assert len(groups) >= 4
    assert all(group.smoothing.divisors.max() > 2 * group.smoothing.divisors.min() for group in groups)
    after = outputs(path, inputs_of(path, 0), [])
    for key, expected in before.items():
        np.testing.assert_allclose(after[key], expected, rtol=1e-4, atol=1e-4, err_msg=key)
    # The activations did change, as their statistics say.
    changed = {str(site.activation.name) for group in groups for site in group.sites} & set(stats)
    seen = outputs(path, feeds, sorted(changed))
    for key in changed:
        assert after_stats[key] is not stats[key]
        rows = np.abs(seen[key].reshape(-1, seen[key].shape[-1])).max(0)
        assert (rows <= after_stats[key].amax * (1 + 1e-3) + 1e-6).all()


def test_only_what_is_quantised_is_smoothed(phi3_bundle: Path, tmp_path: Path) -> None:
    path = copied(phi3_bundle, "llm", tmp_path)
    stats = statistics(path, inputs_of(path, 0))
    data = path.with_name("llm.onnx.data").read_bytes()
    assert smooth(open_graph(path), set(), stats) == ([], stats)
    assert path.with_name("llm.onnx.data").read_bytes() == data
