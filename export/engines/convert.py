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
from xsam_edge.export.engines.pixel_profile import pixel_profiles
from xsam_edge.export.engines.profiles import input_shapes, profiles_for
from xsam_edge.export.staging import check_space, hash_files, staged
from xsam_edge.runtime.bundle.contract import PIXELS
from xsam_edge.runtime.bundle.engine_info import EngineFigures, EngineInfo, EngineProfile, ProfileFigures
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, GraphSpec, Manifest, read_manifest
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.device.memory_plan import MemoryPlan
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress


def read_graphs(bundle: Path, output: Path) -> Manifest:
    """The manifest of a bundle of ONNX graphs that is to be compiled into ``output``.

    Raises:
        BundleError: no bundle.
        InputError: it holds engines or graphs of another dialect, or is ``output`` itself.
    """
    manifest = read_manifest(bundle)
    if manifest.engine is not None:
        raise InputError(f"{bundle} holds engines of {manifest.engine.flavour} already; give the bundle of ONNX graphs")
    if manifest.dialect != "gpu":
        raise InputError(
            f"{bundle} holds graphs for {manifest.dialect}, engines are compiled from those for gpu; export it again "
            f"with `xsam-export --checkpoint CHECKPOINT --precision {manifest.precision} --for gpu -o BUNDLE`"
        )
    if output.resolve() == bundle.resolve():
        raise InputError(f"{output} is the bundle that is read; choose another output")
    return manifest


def convert(
    bundle: Path,
    manifest: Manifest,
    output: Path,
    builder: Builder,
    memory: MemoryPlan,
    *,
    overwrite: bool = False,
    check: Callable[[Path], None] = lambda engines: None,
    progress: Progress,
) -> tuple[Manifest, tuple[BuiltEngine, ...]]:
    """Compile a bundle of ONNX graphs for the context of a memory plan; needs neither torch nor onnx.

    ``check`` is given the whole bundle before it takes its place, and raises where it must not.

    Raises:
        BundleError: an altered bundle.
        EngineBuildError: a graph cannot be compiled; names the node.
        InputError: the engines cannot be put at ``output``.
    """
    paths = check_files(bundle, manifest, progress=progress).paths
    with staged(output, overwrite, progress) as folder:
        check_space(folder, sum(entry.bytes for entry in manifest.files.values()))
        _copy_rest(paths, folder)
        profiles = {
            name: pixel_profiles(manifest.settings)
            if name == PIXELS
            else profiles_for(graph, name, manifest.settings.model, memory.context)
            for name, graph in manifest.graphs.items()
        }
        built = tuple(build_engine(job, progress) for job in _jobs(manifest.graphs, profiles, paths, builder, folder))
        engines = replace(
            manifest,
            graphs={name: replace(graph, file=_engine_file(name)) for name, graph in manifest.graphs.items()},
            files=hash_files(folder, progress),
            producer={**manifest.producer, "polygraphy": importlib.metadata.version("polygraphy")},
            engine=_info(manifest, builder, memory, profiles, {item.graph: item for item in built}),
        )
        (folder / MANIFEST_FILE).write_text(engines.to_json(), encoding="utf-8")
        check(folder)
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


def figures(built: BuiltEngine, profiles: tuple[EngineProfile, ...]) -> EngineFigures:
    """What the compiler said of an engine, by the names of its profiles."""
    told = zip(profiles, built.scratch_bytes, strict=False)  # none where it did not say
    return EngineFigures(built.engine_bytes, {profile.name: ProfileFigures(scratch) for profile, scratch in told})


def _info(
    manifest: Manifest,
    builder: Builder,
    memory: MemoryPlan,
    profiles: Mapping[str, tuple[EngineProfile, ...]],
    built: Mapping[str, BuiltEngine],
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
        figures={name: figures(engine, profiles[name]) for name, engine in built.items()},
    )
