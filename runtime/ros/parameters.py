"""The node's parameters: what they are called, what they mean, and whether a set of them makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from xsam_edge.runtime import arguments
from xsam_edge.runtime.backends.onnxruntime import DEVICES, thread_count
from xsam_edge.runtime.bundle.verification import VERIFY, Verify
from xsam_edge.runtime.errors import InputError

DESCRIPTIONS: Mapping[str, str] = {
    "bundle": "folder that xsam-export wrote; read when the node is configured",
    "device": f"one of {', '.join(DEVICES)}; read when configured",
    "threads": "of the CPU, 0: every core; read when configured",
    "context": "tokens that prompt and answer may have, 0: 4096 or what the model allows; read when configured",
    "verify": f"whose hashes are checked before a file is opened: {', '.join(VERIFY)}; read when configured",
    "autostart": "configure and activate by itself; read at the start",
    "prompt": 'a phrase, or JSON such as {"things": ["person"], "stuff": ["road"]}; at any time',
    "ask_prompt": "what ~/ask asks, in the same form; empty: the prompt; at any time",
    "deadline": "milliseconds after which a frame is given up, 0: never; at any time",
    "age_from": "stamp: a frame's age counts from its header, by the node's clock; arrival: from when it came",
    "overlap": "encode the next frame beside the language model of one; at any time",
    "track": "the ids of masks and detections are identities, kept over frames; read when activated",
    "qos": "of the images: sensor_data (best effort) or reliable; read when activated",
    "depth_low": "of an image of 16 bits: the value that becomes black; at any time",
    "depth_high": "the value that becomes white; as depth_low: of 16 bits the upper eight are taken",
    "transport": "raw: ~/image alone, compressed: ~/image/compressed alone, or both; read when activated",
    "overlay_max_side": "pixels of the longer side of ~/overlay/compressed, 0: as the image",
    "overlay_quality": "of the JPEG in ~/overlay/compressed, 1 to 95",
    "silent_after": "seconds without an image after which the diagnostics warn",
    "diagnostics_period": "seconds between two messages on /diagnostics",
}

_MOST_SIDE = 16384
_MOST_DEPTH = 65535


@dataclass(frozen=True)
class Parameters:
    """All parameters; see ``DESCRIPTIONS``. Times are milliseconds where they are a frame's age, else seconds.

    Raises InputError for a value of another type, out of range, or none of the choices.
    """

    bundle: str = ""
    device: str = "cpu"
    threads: int = 0
    context: int = 0
    verify: Verify = "full"
    autostart: bool = True
    prompt: str = ""
    ask_prompt: str = ""
    deadline: float = 0.0
    age_from: str = "stamp"
    overlap: bool = False
    track: bool = False
    qos: str = "sensor_data"
    depth_low: float = 0.0
    depth_high: float = 0.0
    transport: str = "both"
    overlay_max_side: int = 0
    overlay_quality: int = 80
    silent_after: float = 2.0
    diagnostics_period: float = 1.0

    def __post_init__(self) -> None:
        for name in ("bundle", "prompt", "ask_prompt"):
            arguments.text(name, getattr(self, name))
        for name, choices in {
            "device": DEVICES,
            "verify": VERIFY,
            "age_from": ("stamp", "arrival"),
            "qos": ("sensor_data", "reliable"),
            "transport": ("both", "raw", "compressed"),
        }.items():
            arguments.choice(name, getattr(self, name), *choices)
        for name in ("autostart", "overlap", "track"):
            if not isinstance(getattr(self, name), bool):
                raise arguments.wrong(name, getattr(self, name), "true or false")
        for name, value in {
            "threads": thread_count(self.threads),
            "context": arguments.count("context", self.context),
            "deadline": arguments.number("deadline", self.deadline, 0, what="milliseconds"),
            "depth_low": arguments.number("depth_low", self.depth_low, 0, _MOST_DEPTH),
            "depth_high": arguments.number("depth_high", self.depth_high, 0, _MOST_DEPTH),
            "overlay_max_side": arguments.count("overlay_max_side", self.overlay_max_side, 0, _MOST_SIDE),
            "overlay_quality": arguments.count("overlay_quality", self.overlay_quality, 1, 95),
            "silent_after": arguments.number("silent_after", self.silent_after, above=0, what="seconds"),
            "diagnostics_period": arguments.number("diagnostics_period", self.diagnostics_period, 0.05, what="seconds"),
        }.items():
            object.__setattr__(self, name, value)
        if self.threads and self.device != "cpu":
            raise InputError(f"threads is of the CPU, and the device is {self.device}; leave threads at 0")
        if self.depth_high < self.depth_low:
            raise InputError(
                f"depth_high is {self.depth_high:g}, and depth_low {self.depth_low:g}; set both at once, high above low"
            )

    @property
    def depth_range(self) -> tuple[float, float] | None:
        """As ``to_array`` takes it."""
        return None if self.depth_low == self.depth_high else (self.depth_low, self.depth_high)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        """Those of a mapping that may hold others, such as ``use_sim_time``; see the class for what it raises."""
        return cls(**{name: values[name] for name in DESCRIPTIONS if name in values})

    def values(self) -> dict[str, bool | int | float | str]:
        """Name -> value."""
        return {item.name: cast("bool | int | float | str", getattr(self, item.name)) for item in fields(self)}
