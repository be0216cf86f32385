"""The profile of the graph ``pixels``: pictures of any size up to the longest edge, tuned for full HD."""

from __future__ import annotations

from xsam_edge.export.engines.profiles import ONLY
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import EngineProfile
from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.image.taps import LONGEST_EDGE, Taps, mask_taps, most_taps, vision_taps

_USUAL = 1080, 1920  # height and width


def pixel_profiles(settings: Settings) -> tuple[EngineProfile, ...]:
    """The one profile of ``pixels``."""
    vision, mask = settings.vision_input, settings.mask_input
    axes = {
        contract.HEIGHT: (1, _USUAL[0], LONGEST_EDGE),
        contract.WIDTH: (1, _USUAL[1], LONGEST_EDGE),
        contract.VISION_TAPS: _taps(vision_taps(_USUAL, vision), most_taps(vision)),
        contract.MASK_TAPS: _taps(mask_taps(_USUAL, mask), most_taps(mask)),
    }
    return (EngineProfile(ONLY, axes),)


def _taps(usual: tuple[Taps, Taps], most: int) -> tuple[int, int, int]:
    """From one pixel and the padding on."""
    return 2, max(taps.count for taps in usual), most
