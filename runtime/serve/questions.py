"""What a request asks of a picture, ready to be put to its scene in the model's thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

Told = Callable[[str], None]

PHRASES = ("refer", "reason")
TALK = ("caption", "chat")
TASKS = (*PHRASES, "categories", "regions", *TALK)


@dataclass(frozen=True, eq=False)
class Question:
    """A task of ``TASKS`` with the arguments of the scene's method for it.

    ``texts`` are the phrases or sentences, of chat the one question; other tasks have none.
    """

    task: str
    texts: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def batch_key(self) -> Hashable:
        """What questions on one picture have in common that can be answered together; None of those that cannot."""
        return (self.task, tuple(sorted(self.options.items()))) if self.task in PHRASES else None

    def ask(self, scene: Scene, told: Told | None = None) -> list[Result]:
        """Put it to a scene; a result for each text, or one. Raises what the scene's method does."""
        options = dict(self.options)
        if self.task == "refer":
            return scene.refer(list(self.texts), **options)
        if self.task == "reason":
            return scene.reason(list(self.texts), **options)
        if self.task == "categories":
            return [scene.categories(**options)]
        if self.task == "regions":
            return [scene.regions(**options)]
        if self.task == "caption":
            return [scene.describe(told=told, **options)]
        return [scene.chat(self.texts[0], told=told, **options)]
