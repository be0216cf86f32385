"""A bundle that answers requests of tensors: all that ``model.py`` of a Triton repository calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.triton.answers import answer_all
from xsam_edge.runtime.triton.requests import Ask, Tensors, read_request
from xsam_edge.runtime.triton.responses import write_response
from xsam_edge.runtime.triton.scenes import Scenes
from xsam_edge.runtime.triton.settings import read_settings

Response = dict[str, npt.NDArray[Any]] | Exception


class Service:
    """A loaded bundle and the scenes that it keeps. One thread calls it, as Triton's instances do."""

    def __init__(self, model: XSam, scenes: int) -> None:
        self.scenes = Scenes(lambda picture: model.look(picture.content), scenes)
        self._model = model

    @classmethod
    def load(cls, parameters: Mapping[str, str], folder: Path) -> Service:
        """Load the bundle that parameters of ``config.pbtxt`` name; ``folder`` is the model's, in the repository.

        Raises:
            InputError: parameters that cannot be used; and what ``XSam.load`` raises.
        """
        settings = read_settings(parameters, folder)
        model = XSam.load(
            settings.bundle,
            device=settings.device,
            threads=settings.threads,
            context=settings.context,
            verify=settings.verify,
        )
        return cls(model, settings.scenes)

    def answer(self, requests: Sequence[Tensors], wanted: Sequence[Collection[str]]) -> list[Response]:
        """Answer requests that came together, in their order.

        Args:
            requests: of each its tensors by name, every one with a batch axis of one.
            wanted: of each the names of the outputs that were asked for.

        Returns:
            for each its outputs by name, or its error: an XSamError, whose message is for who asked, or another.
        """
        read = [_read(tensors) for tensors in requests]
        answers = iter(answer_all([ask for ask in read if isinstance(ask, Ask)], self.scenes))
        responses: list[Response] = []
        for ask, names in zip(read, wanted, strict=True):
            answer = next(answers) if isinstance(ask, Ask) else ask
            responses.append(answer if isinstance(answer, Exception) else write_response(answer, names))
        return responses

    def close(self) -> None:
        """Free the scenes and the model."""
        self.scenes.close()
        self._model.close()


def _read(tensors: Tensors) -> Ask | InputError:
    try:
        return read_request(tensors)
    except InputError as error:
        return error
