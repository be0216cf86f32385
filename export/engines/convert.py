"""From a bundle of ONNX graphs to a bundle of engines. The rest of the bundle is the same."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from xsam_edge.export.engines import flavours
from xsam_edge.export.engines.build import BuiltEngine, EngineJob, build_engine, timing_cache
from xsam_edge.export.engines.builder import Builder
from xsam_edge.export.engines.fit import Fit, check_fits, fit_target
from xsam_edge.export.engines.profiles import input_shapes, profiles_for
from xsam_edge.export.staging import check_output, check_space, hash_files, staged
from xsam_edge.runtime.bundle.engine_info import EngineInfo, EngineProfile
from xsam_edge.runtime.bundle.manifest import (
    MANIFEST_FILE,
    GraphSpec,
    Manifest,
    check_files,
    read_manifest,
)
from xsam_edge.runtime.device.memory_plan import MemoryPlan, footprint
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress

Show = Callable[[Fit], None]


def convert(
    bundle: Path,
    output: Path,
    builder: Builder,
    context: int,
    *,
    overwrite: bool = False,
    progress: Progress,
    show: Show | None = None,
) -> tuple[Manifest, tuple[BuiltEngine, ...]]:
    """Compile a bundle of ONNX graphs for a context (0: the target's); needs neither torch nor onnx.

    ``show`` is called with the memory plan before anything is built.

    Raises:
        BundleError: no bundle, or an altered one.
        EngineBuildError: a graph cannot be compiled; names the node.
        InputError: the bundle holds engines, cannot be put at ``output``, or has no such context.
        DeviceMemoryError: the model does not fit; the message names what would.
    """
    manifest = read_manifest(bundle)
    if manifest.engine is not None:
        raise InputError(f"{bundle} holds engines of {manifest.engine.flavour} already; give the bundle of ONNX graphs")
    if output.resolve() == bundle.resolve():
        raise InputError(f"{output} is the bundle that is read; choose another output")
    check_output(output, overwrite)
    fit = fit_target(footprint(manifest), context, builder.destination.target)
    check_fits(fit)
    if show is not None:
        show(fit)
    paths = check_files(bundle, manifest, progress=progress)
    with staged(output, overwrite) as folder:
        check_space(folder, sum(path.stat().st_size for path in paths.values()))
        _copy_rest(paths, folder)
        profiles = {
            name: profiles_for(graph, name, manifest.settings.model, fit.memory.context)
            for name, graph in manifest.graphs.items()
        }
        built = tuple(build_engine(job, progress) for job in _jobs(manifest.graphs, profiles, paths, builder, folder))
        engines = replace(
            manifest,
            graphs={name: replace(graph, file=_engine_file(name)) for name, graph in manifest.graphs.items()},
            files=hash_files(folder, progress),
            producer={**manifest.producer, "polygraphy": importlib.metadata.version("polygraphy")},
            engine=_info(manifest, builder, fit.memory, profiles),
        )
        (folder / MANIFEST_FILE).write_text(engines.to_json(), encoding="utf-8")
    return engines, built


def _engine_file(graph: str) -> str:
    return f"{graph}.engine"


def _copy_rest(paths: Mapping[str, Path], folder: Path) -> None:
    """Every file but graphs and their weights: tokenizer, embeddings, and what else a bundle comes to hold."""
    for name, path in paths.items():
        if path.suffix not in (".onnx", ".data"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)


def _jobs(
    graphs: Mapping[str, GraphSpec],
    profiles: Mapping[str, tuple[EngineProfile, ...]],
    paths: Mapping[str, Path],
    builder: Builder,
    folder: Path,
) -> Iterator[EngineJob]:
    cache = None
    if flavours.has_timing_cache(builder.flavour):
        cache = timing_cache(builder.flavour, builder.version, builder.destination.device)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        yield EngineJob(
            graph=name,
            onnx=paths[graph.file],
            engine=folder / _engine_file(name),
            flavour=builder.flavour,
            compute_capabilities=builder.destination.compute_capabilities,
            profiles=tuple(input_shapes(graph, profile) for profile in profiles[name]),
            optimization_level=builder.optimization_level,
            timing_cache=cache,
        )


def _info(
    manifest: Manifest, builder: Builder, memory: MemoryPlan, profiles: Mapping[str, tuple[EngineProfile, ...]]
) -> EngineInfo:
    destination = builder.destination
    device = destination.device
    options: dict[str, str | int | bool] = {"strongly_typed": True, "tf32": False}
    if builder.optimization_level is not None:
        options["optimization_level"] = builder.optimization_level
    return EngineInfo(
        flavour=builder.flavour,
        version=builder.version,
        target=destination.target.name,
        compute_capabilities=destination.compute_capabilities,
        gpu=device.name if device else "",
        driver=device.driver if device else "",
        cuda=device.cuda if device else "",
        context=memory.context,
        kv_cache=flavours.kv_cache_choice(builder.flavour, builder.version),
        options=options,
        profiles=profiles,
        memory=memory.as_dict(),
        onnx={name: manifest.files[graph.file].sha256 for name, graph in manifest.graphs.items()},
    )
