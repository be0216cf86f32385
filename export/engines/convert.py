"""From a bundle of ONNX graphs to a bundle of engines. The rest of the bundle is the same."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xsam_edge.export.engines import flavours
from xsam_edge.export.engines.build import BuiltEngine, EngineJob, build_engine, timing_cache
from xsam_edge.export.engines.footprint import check_fits
from xsam_edge.export.engines.profiles import input_shapes, profiles_for
from xsam_edge.export.engines.targets import Target, get_target
from xsam_edge.export.staging import check_output, check_space, hash_files, staged
from xsam_edge.runtime.bundle.engine_info import EngineInfo, EngineProfile, Flavour
from xsam_edge.runtime.bundle.manifest import (
    MANIFEST_FILE,
    Manifest,
    bundle_path,
    check_files,
    read_manifest,
)
from xsam_edge.runtime.device.compatibility import library_version
from xsam_edge.runtime.device.cuda_device import DeviceInfo, find_device
from xsam_edge.runtime.device.memory_plan import Footprint, MemoryPlan, footprint, plan
from xsam_edge.runtime.errors import InputError, NoDeviceError
from xsam_edge.runtime.progress import Progress

Show = Callable[[MemoryPlan, Target], None]


@dataclass(frozen=True)
class EngineRequest:
    """What to compile a bundle into. ``context`` 0 takes the target's, ``memory`` (bytes) None its memory."""

    flavour: Flavour
    target: str = "auto"
    context: int = 0
    memory: int | None = None
    optimization_level: int | None = None


@dataclass(frozen=True)
class Builder:
    """What compiles a request: checked before there is a bundle to compile."""

    request: EngineRequest
    target: Target
    device: DeviceInfo | None
    version: str
    compute_capabilities: tuple[str, ...]


@dataclass(frozen=True)
class Sized:
    """A context and the memory plan that it leads to."""

    context: int
    memory: MemoryPlan


def present_device() -> DeviceInfo | None:
    """The GPU of this machine, None without one."""
    try:
        return find_device()
    except NoDeviceError:
        return None


def context_for(wanted: int, target: Target, limit: int, image_tokens: int) -> int:
    """The context that the profiles hold.

    Raises:
        InputError: longer than the model was trained for, or too short for an image.
    """
    context = wanted or min(target.context, limit)
    if not image_tokens < context <= limit:
        raise InputError(
            f"a context of {context} tokens cannot be built; choose one above the {image_tokens} of an image "
            f"and up to the model's {limit} with --context"
        )
    return context


def find_builder(request: EngineRequest) -> Builder:
    """Check a request against the machine and the target.

    Raises:
        InputError: an unknown target, or one that the flavour is not for.
        BackendError: the library is missing or too old, or TensorRT without a GPU or on another than the target's.
    """
    device = present_device()
    target = get_target(request.target, device, request.memory)
    capabilities = flavours.compute_capabilities(request.flavour, target, device)
    version = library_version(request.flavour)
    flavours.check_version(request.flavour, version)
    return Builder(request, target, device, version, capabilities)


def fit(facts: Footprint, context: int, target: Target) -> Sized:
    """Choose the context (0: the target's) and check that the model fits.

    Raises:
        InputError: a context that the model does not have.
        DeviceMemoryError: the model does not fit; the message names what would.
    """
    context = context_for(context, target, facts.context_limit, facts.image_tokens)
    check_fits(facts, context, target)
    return Sized(context, plan(facts, context))


def convert(
    bundle: Path,
    output: Path,
    request: EngineRequest,
    *,
    overwrite: bool = False,
    progress: Progress,
    show: Show | None = None,
) -> tuple[Manifest, tuple[BuiltEngine, ...]]:
    """Compile a bundle of ONNX graphs; needs neither torch nor onnx.

    ``show`` is called with the memory plan before anything is built.

    Raises:
        BundleError: no bundle, or an altered one.
        EngineBuildError: a graph cannot be compiled; names the node.
        InputError, BackendError: see :func:`find_builder` and :func:`fit`.
    """
    manifest = read_manifest(bundle)
    if manifest.engine is not None:
        raise InputError(f"{bundle} holds engines of {manifest.engine.flavour} already; give the bundle of ONNX graphs")
    if output.resolve() == bundle.resolve():
        raise InputError(f"{output} is the bundle that is read; choose another output")
    check_output(output, overwrite)
    builder = find_builder(request)
    sized = fit(footprint(manifest), request.context, builder.target)
    if show is not None:
        show(sized.memory, builder.target)
    check_files(bundle, manifest, progress=progress)
    with staged(output, overwrite) as folder:
        check_space(folder, sum(entry.bytes for entry in manifest.files.values()))
        _copy_rest(bundle, manifest, folder)
        profiles, built = {}, []
        for graph in manifest.graphs:
            profiles[graph] = profiles_for(manifest.graphs[graph], graph, manifest.settings.model, sized.context)
            built.append(_build(bundle, manifest, graph, profiles[graph], builder, folder, progress))
        engines = replace(
            manifest,
            graphs={name: replace(graph, file=_engine_file(name)) for name, graph in manifest.graphs.items()},
            files=hash_files(folder, progress),
            producer={**manifest.producer, "polygraphy": importlib.metadata.version("polygraphy")},
            engine=_info(manifest, builder, sized, profiles),
        )
        (folder / MANIFEST_FILE).write_text(engines.to_json(), encoding="utf-8")
    return engines, tuple(built)


def _engine_file(graph: str) -> str:
    return f"{graph}.engine"


def _copy_rest(bundle: Path, manifest: Manifest, folder: Path) -> None:
    """Every file but graphs and their weights: tokenizer, embeddings, and what else a bundle comes to hold."""
    for name in manifest.files:
        if Path(name).suffix not in (".onnx", ".data"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle_path(bundle, name), folder / name)


def _build(
    bundle: Path,
    manifest: Manifest,
    graph: str,
    profiles: tuple[EngineProfile, ...],
    builder: Builder,
    folder: Path,
    progress: Progress,
) -> BuiltEngine:
    spec = manifest.graphs[graph]
    cache = None
    if flavours.has_timing_cache(builder.request.flavour):
        cache = timing_cache(builder.request.flavour, builder.version, builder.device)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
    job = EngineJob(
        graph=graph,
        onnx=bundle_path(bundle, spec.file),
        engine=folder / _engine_file(graph),
        flavour=builder.request.flavour,
        compute_capabilities=builder.compute_capabilities,
        profiles=tuple(input_shapes(spec, profile) for profile in profiles),
        optimization_level=builder.request.optimization_level,
        timing_cache=cache,
    )
    return build_engine(job, progress)


def _info(
    manifest: Manifest, builder: Builder, sized: Sized, profiles: dict[str, tuple[EngineProfile, ...]]
) -> EngineInfo:
    device, request = builder.device, builder.request
    options: dict[str, str | int | bool] = {"strongly_typed": True, "tf32": False}
    if request.optimization_level is not None:
        options["optimization_level"] = request.optimization_level
    return EngineInfo(
        flavour=request.flavour,
        version=builder.version,
        target=builder.target.name,
        compute_capabilities=builder.compute_capabilities,
        gpu=device.name if device else "",
        driver=device.driver if device else "",
        cuda=device.cuda if device else "",
        context=sized.context,
        kv_cache=flavours.kv_cache_choice(request.flavour, builder.version),
        options=options,
        profiles=profiles,
        memory=sized.memory.as_dict(),
        onnx={name: manifest.files[graph.file].sha256 for name, graph in manifest.graphs.items()},
    )
