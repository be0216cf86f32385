"""What differs between TensorRT and TensorRT-RTX and between their versions: all of it, in one place.

TensorRT 10.3 to 11 and TensorRT-RTX share one way to an engine: a strongly typed network from an ONNX file that
carries its precision. Compute capabilities of TensorRT-RTX are those of its documentation ("CPU-Only AOT").
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import Any, Literal

from xsam_edge.export.engines.targets import Target
from xsam_edge.runtime.bundle.engine_info import MODULES, Flavour, KVCacheChoice
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import EngineDeviceError, EngineVersionError, InputError, NoDeviceError

FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt-rtx")

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
# One engine for all of them is TensorRT-RTX's default. Turing is left out: it costs the others speed.
RTX_PORTABLE = ("8.0", "8.6", "8.9", "12.0")

_FP8_CAPABILITY = (8, 9)  # Ada

_OLDEST = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 0)}
_KV_CACHE_UPDATE = {"tensorrt": (10, 15), "tensorrt-rtx": (1, 7)}


def number(version: str) -> tuple[int, int]:
    """Major and minor of a version such as "10.3.0.26"."""
    parts = [int(part) if part.isdigit() else 0 for part in [*version.split("."), "0", "0"][:2]]
    return parts[0], parts[1]


def check_version(flavour: Flavour, version: str) -> None:
    """Raise EngineVersionError if a version is older than the oldest that takes these graphs."""
    if number(version) < (oldest := _OLDEST[flavour]):
        raise EngineVersionError(
            f"{flavour} {version} is installed, the graphs need {oldest[0]}.{oldest[1]} or newer; "
            "upgrade it, on a Jetson with JetPack 6.2"
        )


def compute_capabilities(flavour: Flavour, target: Target, device: DeviceInfo | None) -> tuple[str, ...]:
    """What the engines are compiled for.

    TensorRT measures kernels on the GPU that it runs on, so that engines are built on the device itself.
    TensorRT-RTX compiles for any GPU that it knows, on any machine.

    Raises:
        InputError: TensorRT-RTX does not know the target.
        NoDeviceError: TensorRT without a GPU.
        EngineDeviceError: TensorRT on another GPU than the target's.
    """
    capability = target.compute_capability
    if flavour == "tensorrt-rtx":
        if capability and capability not in RTX_CAPABILITIES:
            where = "on the board" if target.jetson else "on a machine with that GPU"
            raise InputError(
                f"TensorRT-RTX is for desktop GPUs (compute capability {', '.join(RTX_CAPABILITIES)}), "
                f"{target.name} has {capability}; export a bundle without --engine and run "
                f"`xsam-export --from BUNDLE --engine tensorrt --target {target.name}` {where}"
            )
        return (capability,) if capability else RTX_PORTABLE
    if device is None:
        raise NoDeviceError(
            f"TensorRT builds on the GPU that it builds for, and there is none here; run `xsam-export --from BUNDLE "
            f"--engine tensorrt --target {target.name}` on the device (tensorrt-rtx builds without a GPU)"
        )
    if capability and capability != device.compute_capability:
        raise EngineDeviceError(
            f"{target.name} has compute capability {capability}, {device.name} {device.compute_capability}: TensorRT "
            "builds for the GPU it runs on; build on the device, or choose --target auto"
        )
    return (device.compute_capability,)


def capable(capabilities: tuple[str, ...], codes: Collection[str], target: str) -> tuple[str, ...]:
    """Those of several compute capabilities that have products of all these codes.

    Raises:
        InputError: none has.
    """
    if "fp8" not in codes:
        return capabilities
    able = tuple(capability for capability in capabilities if number(capability) >= _FP8_CAPABILITY)
    if capabilities and not able:
        raise InputError(
            f"FP8 needs a compute capability of 8.9 or more (Ada, Hopper, Blackwell, Thor), {target} has "
            f"{', '.join(capabilities)}; take --precision int8 there"
        )
    return able


def eight_bits(capability: str) -> Literal["fp8", "int8"]:
    """In which eight bits a GPU multiplies fastest."""
    return "fp8" if number(capability) >= _FP8_CAPABILITY else "int8"


def kv_cache_choice(flavour: Flavour, version: str) -> KVCacheChoice:
    """How the language model's engine treats its cache, and why."""
    if number(version) < (first := _KV_CACHE_UPDATE[flavour]):
        reason = f"{flavour} {version} has no layer that updates a cache; {first[0]}.{first[1]} has"
    else:
        # IKVCacheUpdateLayer keeps [B, heads, tokens, head_dim].
        reason = (
            f"the cache-update layer of {flavour} {version} keeps a head's tokens together; the graph's cache keeps a "
            "token's heads together, so that a past is a view and new rows are appended to it on every version"
        )
    return KVCacheChoice("decomposed", reason)


def strongly_typed(trt: Any) -> bool:
    """Whether a network has to be asked for strong typing. Where the flag is gone, every network is."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def has_timing_cache(flavour: Flavour) -> bool:
    """Whether a build times kernels. TensorRT-RTX leaves that to the first run on the GPU."""
    return flavour == "tensorrt"


def config_loader(flavour: Flavour, capabilities: tuple[str, ...], **common: Any) -> Any:
    """Polygraphy's loader of a builder configuration. Call after polygraphy was told the flavour."""
    if flavour == "tensorrt-rtx":
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        pairs = [tuple(int(part) for part in capability.split(".")) for capability in capabilities]
        return _capturable(CreateConfigRTX(compute_capabilities=pairs, **common))
    from polygraphy.backend.trt import CreateConfig

    return CreateConfig(**common)


def _capturable(loader: Any) -> Any:
    """Let engines of TensorRT-RTX allocate nothing while they run, without which their runs cannot be captured."""

    def load(builder: Any, network: Any) -> Any:
        config = loader(builder, network)
        flags = importlib.import_module(MODULES["tensorrt-rtx"]).BuilderFlag
        if hasattr(flags, "REQUIRE_USER_ALLOCATION"):  # TensorRT-RTX 1.2 and newer
            config.set_flag(flags.REQUIRE_USER_ALLOCATION)
        return config

    return load


def notes(flavour: Flavour, precision: str) -> tuple[str, ...]:
    """What a user should know of a choice that is not an error."""
    if flavour == "tensorrt-rtx" and precision == "int8":
        return ("TensorRT-RTX documents INT8 as weight-only: its fast quantised products are INT4 and FP8",)
    return ()
