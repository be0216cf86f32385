"""What of a bundle a machine can run and, if not, why and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.bundle.settings import RejectionRule
from xsam_edge.runtime.bundle.verification import Verify, check_files
from xsam_edge.runtime.device.compatibility import Environment, check_engine, kernel_path
from xsam_edge.runtime.device.memory_plan import check_memory, footprint, plan
from xsam_edge.runtime.device.transfers import transfers
from xsam_edge.runtime.doctor.host import Fact, Section
from xsam_edge.runtime.doctor.software import OnnxRuntime
from xsam_edge.runtime.errors import DeviceMemoryError, XSamError
from xsam_edge.runtime.progress import Progress, silent
from xsam_edge.runtime.units import size

_CONTEXT = 4096  # what a bundle is loaded with by default, or its own limit


@dataclass(frozen=True)
class Verdict:
    """Whether a bundle runs in one way; ``reason`` says why not and what to do."""

    way: str
    runs: bool
    reason: str = ""


def examine(
    bundle: Path,
    environment: Environment,
    onnxruntime: OnnxRuntime,
    memory: int | None,
    *,
    verify: Verify = "full",
    progress: Progress = silent,
) -> tuple[Section, tuple[Verdict, ...]]:
    """Compare a bundle with a machine; loads nothing of it.

    Args:
        bundle: its folder; anything at all.
        environment: of the machine.
        onnxruntime: what of ONNX Runtime it has.
        memory: bytes that are available to a program, None where not known.
        verify: whose hashes are checked, see ``check_files``.
        progress: told what of the files was hashed.
    """
    try:
        manifest = read_manifest(bundle)
        checked = check_files(bundle, manifest, verify=verify, progress=progress)
    except (XSamError, OSError) as error:
        return Section("bundle", (Fact("bundle", str(bundle)),)), (Verdict("files", False, str(error)),)
    context = min(_CONTEXT, manifest.settings.model.context_length)
    if manifest.engine is not None:
        context = min(context, manifest.engine.context)
    facts = [*_facts(manifest, context), *_kernels(bundle, manifest, environment)]
    section = Section("bundle", (Fact("bundle", str(bundle)), *facts))
    files = Verdict("files", True, checked.note)
    if manifest.engine is not None:
        return section, (files, _engines(manifest, environment, context))
    return section, (files, *_onnx(manifest, environment, onnxruntime, memory, context))


def _facts(manifest: Manifest, context: int) -> list[Fact]:
    wanted = plan(footprint(manifest), context)
    planned = transfers(manifest, new_tokens=64, answer_tokens=16, conditions=1)
    moved = {per: sum(item.nbytes * item.times for item in planned if item.per == per) for per in ("image", "question")}
    engine = manifest.engine
    kind = f"{engine.flavour} {engine.version} for {engine.target}" if engine else "ONNX graphs"
    return [
        Fact("model", f"{manifest.variant}, {manifest.precision}, {kind}"),
        _rejection(manifest.settings.rejection or {}),
        Fact(
            "needs",
            size(wanted.needed(True)),
            f"with a context of {context} tokens, {size(wanted.needed(False))} of a GPU",
        ),
        Fact(
            "crosses to and from a GPU",
            f"{size(moved['image'])} for an image, {size(moved['question'])} for a question",
            "64 new tokens, 16 decoded, one condition, one mask",
        ),
    ]


def _kernels(bundle: Path, manifest: Manifest, environment: Environment) -> list[Fact]:
    """Whether the next start finds what TensorRT-RTX compiled at an earlier one."""
    if environment.device is None or (file := kernel_path(bundle, manifest, environment.device)) is None:
        return []
    if not file.is_file():
        return [Fact("kernels", None, f"the first start compiles them, and keeps them in {file}")]
    return [Fact("kernels", size(file.stat().st_size), f"of an earlier start, in {file}")]


def _rejection(rules: Mapping[str, RejectionRule]) -> Fact:
    """Below which scores things count as absent."""
    if not rules:
        return Fact("rejection", None, "what is asked for is found, whatever its best mask scores")
    below = ", ".join(f"{task} below {rule.threshold:.4f}" for task, rule in rules.items())
    found = [
        f"{task} found at most {100 * rule.false_alarms:g}% of {rule.asks} absent things"
        for task, rule in rules.items()
    ]
    return Fact("rejection", below, "; ".join(found))


def _engines(manifest: Manifest, environment: Environment, context: int) -> Verdict:
    engine = manifest.engine
    assert engine is not None
    try:
        check_engine(manifest, environment)
        if environment.device is not None:
            check_memory(manifest, context, environment.device)
    except XSamError as error:
        return Verdict(engine.flavour, False, str(error))
    return Verdict(engine.flavour, True)


def _onnx(
    manifest: Manifest, environment: Environment, onnxruntime: OnnxRuntime, memory: int | None, context: int
) -> list[Verdict]:
    needed = plan(footprint(manifest), context).needed(True)
    if "CPUExecutionProvider" not in onnxruntime.providers:
        cpu = Verdict("CPU", False, "ONNX Runtime is not installed; run `pip install xsam-edge[cpu]`")
    elif memory is not None and needed > memory:
        cpu = Verdict(
            "CPU",
            False,
            f"it needs {size(needed)}, {size(memory)} are available; end other programs, load it with a shorter "
            "--context, or use a bundle of lower precision",
        )
    else:
        cpu = Verdict("CPU", True)
    verdicts = [cpu, _cuda(manifest, environment, onnxruntime, context)]
    if onnxruntime.problems.get("tensorrt-rtx") == "":
        verdicts.append(_fitting("TensorRT-RTX", "tensorrt-rtx", manifest, environment, context))
    return verdicts


def _cuda(manifest: Manifest, environment: Environment, onnxruntime: OnnxRuntime, context: int) -> Verdict:
    if environment.device is None:
        return Verdict("CUDA", False, environment.problems.get("device", "no CUDA device"))
    if "CUDAExecutionProvider" not in onnxruntime.providers:
        return Verdict(
            "CUDA",
            False,
            "this ONNX Runtime has no CUDA provider; run `pip uninstall onnxruntime && pip install xsam-edge[gpu]`, or "
            "compile engines with `xsam-export --from BUNDLE --engine tensorrt --target auto -o ENGINES`",
        )
    if problem := onnxruntime.problems.get("cuda"):
        return Verdict("CUDA", False, problem)
    return _fitting("CUDA", "cuda", manifest, environment, context)


def _fitting(way: str, device: str, manifest: Manifest, environment: Environment, context: int) -> Verdict:
    if environment.device is not None:
        try:
            check_memory(manifest, context, environment.device)
        except DeviceMemoryError as error:
            return Verdict(way, False, str(error))
    return Verdict(way, True, f"with --device {device}")
