import json
import shutil
from pathlib import Path

import pytest

from xsam_edge.benchmarks.gpu_check import full
from xsam_edge.benchmarks.gpu_check.records import RESULTS, Recorder, find, read
from xsam_edge.benchmarks.gpu_check.skeleton import strip
from xsam_edge.benchmarks.gpu_check.stages import COSTS_FILE, Nominal, Work, read_costs, stage, write_costs
from xsam_edge.benchmarks.gpu_check.steps import SKELETONS, Setting
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.errors import BundleError, InputError


def speak(bundle: Path, dialect: str) -> None:
    """Let a manifest say that its graphs are of a dialect."""
    described = json.loads((bundle / MANIFEST_FILE).read_text())
    (bundle / MANIFEST_FILE).write_text(json.dumps({**described, "dialect": dialect}))


@pytest.fixture(scope="module")
def payload(phi3_fp16_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("payload")
    skeleton = folder / SKELETONS / "phi3-gpu"
    skeleton.parent.mkdir()
    strip(phi3_fp16_bundle, skeleton)
    speak(skeleton, "gpu")
    write_costs(skeleton / COSTS_FILE, {"image_encoder": Work(10**9, 10**6), "llm_prefill": Work(10**3, 10**8)})
    return folder


def test_answers_stages_and_nodes_are_measured(payload: Path, tmp_path: Path) -> None:
    say = Recorder(tmp_path / RESULTS, "full-gpu")
    full.run_gpu(Setting("cpu", payload), say)
    records = read([say.path])
    first, following, step = (
        find(records, "full-gpu", name) for name in ("first answer", "next prompt", "decode step")
    )
    assert first and following and step and first > following
    for name in ("image_encoder", "llm_prefill", "llm_suffix", "mask_decoder"):
        time = find(records, "full-gpu", stage(name))
        assert time and time < first
    notes = {record.name: record.note for record in records}
    assert "of the roof" in notes[stage("image_encoder")] and notes[stage("image_encoder")].endswith("ms by compute")
    assert notes[stage("llm_prefill")].endswith("ms by memory") and "of the roof" not in notes[stage("mask_decoder")]
    assert {f"nodes of {graph}" for graph in ("llm", "image_encoder", "mask_decoder")} <= notes.keys()
    assert find(records, "full-gpu", "copies between CPU and GPU in llm") == 0


def test_a_dialect_without_a_skeleton_is_said(payload: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no skeleton of the dialect cuda; make the payload with"):
        full.run_cuda(Setting("cpu", payload), Recorder(tmp_path / RESULTS, "full-cuda"))
    other = tmp_path / SKELETONS / "phi3-cuda"
    shutil.copytree(payload / SKELETONS / "phi3-gpu", other)
    speak(other, "cuda")
    assert full.find_skeleton(tmp_path / SKELETONS, "cuda") == other


def test_memory_is_used_where_it_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "_MEMORY", tmp_path)
    assert full._roomy(1000) == tmp_path and full._roomy(1 << 60) is None
    monkeypatch.setattr(full, "_MEMORY", tmp_path / "nowhere")
    assert full._roomy(1000) is None


def test_nominal_sizes_are_those_of_the_graphs(payload: Path) -> None:
    manifest = read_manifest(payload / SKELETONS / "phi3-gpu")
    axes = Nominal.of(manifest.settings.model).axes()
    assert list(axes) == ["image_encoder", "llm_prefill", "llm_suffix", "llm_decode", "mask_decoder"]
    for graph, sizes in axes.values():
        assert set(sizes) == manifest.graphs[graph].axes
    prefill, suffix, decode = (axes[f"llm_{name}"][1] for name in ("prefill", "suffix", "decode"))
    assert prefill["past"] == 0 and suffix["past"] + suffix["sequence"] == prefill["sequence"] == decode["past"]


def test_costs_that_are_damaged_are_refused(tmp_path: Path) -> None:
    assert read_costs(tmp_path / COSTS_FILE) == {}
    (tmp_path / COSTS_FILE).write_text('{"llm": 1}')
    with pytest.raises(BundleError, match="make the skeleton again"):
        read_costs(tmp_path / COSTS_FILE)
