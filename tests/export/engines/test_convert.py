"""What a bundle of engines takes over, with a compiler that writes anything."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from xsam_edge.export.engines import convert as converting
from xsam_edge.export.engines.build import BuiltEngine, EngineJob
from xsam_edge.export.engines.builder import Builder, Destination
from xsam_edge.export.engines.convert import convert, read_graphs
from xsam_edge.export.engines.targets import get_target
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.bundle.settings import RejectionRule
from xsam_edge.runtime.device.memory_plan import footprint, plan
from xsam_edge.runtime.errors import EngineBuildError, InputError
from xsam_edge.runtime.progress import Progress, silent

pytest.importorskip("polygraphy", reason="polygraphy is not installed (pip install xsam-edge[dev])")


def test_engines_have_the_settings_of_their_graphs(
    phi3_gpu_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(job: EngineJob, _: Progress) -> BuiltEngine:
        job.engine.write_bytes(b"an engine")
        return BuiltEngine(job.graph, "1.0", 1, 1, 9, tuple(range(len(job.profiles))))

    monkeypatch.setattr(converting, "build_engine", build)
    bundle, output = Path(shutil.copytree(phi3_gpu_bundle, tmp_path / "graphs")), tmp_path / "engines"
    manifest = read_manifest(bundle)
    rules = {"refer": RejectionRule(0.84198743, 0.05, 100), "reason": RejectionRule(0.5, 0.05, 99)}
    ruled = replace(manifest, settings=replace(manifest.settings, rejection=rules))
    (bundle / MANIFEST_FILE).write_text(ruled.to_json())

    graphs = read_graphs(bundle, output)
    builder = Builder("tensorrt-rtx", "1.7.0", Destination(get_target("rtx-40", None, None), None, ("8.9",)), None)
    convert(bundle, graphs, output, builder, plan(footprint(graphs), 300), progress=silent)
    engines = read_manifest(output)
    assert engines.engine is not None and engines.settings == ruled.settings
    assert engines.settings.rejection == rules
    figures = engines.engine.figures
    assert figures.keys() == engines.graphs.keys() and figures["llm"].engine_bytes == 9
    assert {name: told.scratch_bytes for name, told in figures["llm"].profiles.items()} == {
        "first": 0,
        "suffix": 1,
        "decode": 2,
        "prompts": 3,
    }


def test_a_bundle_that_fails_its_check_is_not_written(
    phi3_gpu_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(job: EngineJob, _: Progress) -> BuiltEngine:
        job.engine.write_bytes(b"an engine")
        return BuiltEngine(job.graph, "1.0", 1, 1, 9, ())

    def refuse(engines: Path) -> None:
        assert read_manifest(engines).engine is not None
        raise EngineBuildError("otherwise")

    monkeypatch.setattr(converting, "build_engine", build)
    output = tmp_path / "engines"
    graphs = read_graphs(phi3_gpu_bundle, output)
    builder = Builder("tensorrt-rtx", "1.7.0", Destination(get_target("rtx-40", None, None), None, ("8.9",)), None)
    wanted = plan(footprint(graphs), 300)
    with pytest.raises(EngineBuildError, match="otherwise"):
        convert(phi3_gpu_bundle, graphs, output, builder, wanted, check=refuse, progress=silent)
    assert list(tmp_path.iterdir()) == []


def test_graphs_of_another_dialect_are_refused(phi3_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"graphs for cpu, .*--precision fp32 --for gpu"):
        read_graphs(phi3_bundle, tmp_path / "engines")
