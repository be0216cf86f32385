from __future__ import annotations

import pytest

from xsam_edge.export.engines.builder import Destination
from xsam_edge.export.engines.flavours import (
    RTX_CAPABILITIES,
    RTX_PORTABLE,
    capable,
    check_version,
    compute_capabilities,
    kv_cache_choice,
    number,
    strongly_typed,
)
from xsam_edge.export.engines.targets import TARGETS, get_target
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import EngineDeviceError, EngineVersionError, InputError, NoDeviceError

ORIN = DeviceInfo("Orin", "8.7", 8 << 30, integrated=True, driver="540.4.0", cuda="12.6")


def test_an_unknown_target_lists_the_known() -> None:
    with pytest.raises(InputError) as caught:
        get_target("xavier")
    for name in ("orin-nano", "orin-nx", "agx-orin", "thor", "rtx-30", "rtx-40", "rtx-50", "h100", "auto"):
        assert name in str(caught.value)


def test_auto_describes_the_device_that_is_there() -> None:
    assert get_target("auto").memory is None
    target = get_target("auto", ORIN)
    assert (target.compute_capability, target.jetson) == ("8.7", True)
    assert target.memory is not None and target.memory.shared and target.memory.total == 8 << 30
    assert get_target("rtx-40", ORIN) == TARGETS["rtx-40"]


def test_memory_can_be_another_than_the_presets() -> None:
    preset, other = get_target("agx-orin").memory, get_target("agx-orin", memory=32 << 30).memory
    assert preset is not None and other is not None
    assert (other.total, other.reserved, other.shared) == (32 << 30, preset.reserved, True)
    assert get_target("auto", memory=1 << 34).memory is not None


@pytest.mark.parametrize("name", ["orin-nano", "orin-nx", "agx-orin", "thor"])
def test_rtx_refuses_a_jetson_and_names_the_command_for_the_board(name: str) -> None:
    with pytest.raises(InputError, match=rf"--engine tensorrt --target {name}` on the board"):
        compute_capabilities("tensorrt-rtx", TARGETS[name], None)


def test_rtx_refuses_a_gpu_that_it_does_not_list() -> None:
    with pytest.raises(InputError, match=r"h100 has 9\.0; .*--engine tensorrt"):
        compute_capabilities("tensorrt-rtx", TARGETS["h100"], None)


def test_fp8_is_for_gpus_that_have_it() -> None:
    assert capable(RTX_PORTABLE, {"fp8"}, "auto") == ("8.9", "12.0")
    assert capable(RTX_PORTABLE, {"int8", "int4"}, "auto") == RTX_PORTABLE
    assert capable((), {"fp8"}, "auto") == ()  # of a machine without a GPU nothing is known
    assert capable(("9.0",), {"fp8"}, "h100") == ("9.0",) and capable(("11.0",), {"fp8"}, "thor") == ("11.0",)
    for name in ("orin-nano", "agx-orin", "rtx-30"):
        target = TARGETS[name]
        with pytest.raises(InputError, match=rf"{name} has {target.compute_capability}; take --precision int8 there"):
            Destination(target, None, ()).having({"fp8"})
    assert Destination(TARGETS["rtx-50"], None, ("12.0",)).having({"fp8"}).compute_capabilities == ("12.0",)


def test_rtx_builds_for_any_gpu_that_it_knows() -> None:
    assert compute_capabilities("tensorrt-rtx", TARGETS["rtx-40"], None) == ("8.9",)
    assert compute_capabilities("tensorrt-rtx", TARGETS["rtx-50"], ORIN) == ("12.0",)
    assert compute_capabilities("tensorrt-rtx", TARGETS["auto"], None) == RTX_PORTABLE
    assert set(RTX_PORTABLE) < set(RTX_CAPABILITIES)


def test_tensorrt_builds_on_the_device_only() -> None:
    with pytest.raises(NoDeviceError, match="--engine tensorrt --target orin-nx` on the device"):
        compute_capabilities("tensorrt", TARGETS["orin-nx"], None)
    with pytest.raises(EngineDeviceError, match=r"rtx-40 has compute capability 8\.9, Orin 8\.7"):
        compute_capabilities("tensorrt", TARGETS["rtx-40"], ORIN)
    assert compute_capabilities("tensorrt", TARGETS["orin-nano"], ORIN) == ("8.7",)
    assert compute_capabilities("tensorrt", get_target("auto", ORIN), ORIN) == ("8.7",)


def test_versions() -> None:
    assert number("10.3.0.26") == (10, 3)
    assert number("11") == (11, 0)
    check_version("tensorrt", "10.3.0")
    with pytest.raises(EngineVersionError, match=r"10\.1\.0 is installed, the graphs need 10\.3 or newer"):
        check_version("tensorrt", "10.1.0")


@pytest.mark.parametrize(
    ("flavour", "version", "reason"),
    [
        ("tensorrt", "10.3.0", "no layer that updates a cache; 10.15 has"),
        ("tensorrt", "10.14.1", "10.15 has"),
        ("tensorrt", "10.15.1", "keeps a head's tokens together"),
        ("tensorrt", "11.0.0", "keeps a head's tokens together"),
        ("tensorrt-rtx", "1.7.1.116", "keeps a head's tokens together"),
    ],
)
def test_the_cache_is_decomposed_and_says_why(flavour: str, version: str, reason: str) -> None:
    choice = kv_cache_choice(flavour, version)
    assert choice.flavour == "decomposed"
    assert reason in choice.reason


def test_strong_typing_is_asked_for_where_it_can_be() -> None:
    class Flags:
        STRONGLY_TYPED = 1

    class Old:
        NetworkDefinitionCreationFlag = Flags

    class New:
        NetworkDefinitionCreationFlag = object

    assert strongly_typed(Old)
    assert not strongly_typed(New)
