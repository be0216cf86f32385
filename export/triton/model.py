"""X-SAM for Triton's Python backend; what it does is ``xsam_edge.runtime.triton``.

``xsam-export --triton`` copies this file into the repositories that it writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from xsam_edge.runtime import InputError, XSamError
from xsam_edge.runtime.triton import Service


class TritonPythonModel:
    """One instance: a process with a bundle of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle of ``config.pbtxt``; Triton reports what is raised, and the model is not ready then."""
        if args["model_instance_kind"] == "GPU" and args["model_instance_device_id"] != "0":
            raise pb_utils.TritonModelException(
                f"an instance is on GPU {args['model_instance_device_id']}; a bundle runs on the first that the server "
                "sees: write gpus: [ 0 ], and start a server for each GPU with CUDA_VISIBLE_DEVICES"
            )
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        try:
            self._service = Service.load(parameters, Path(args["model_repository"]))
        except XSamError as error:
            raise pb_utils.TritonModelException(f"{type(error).__name__}: {error}") from error

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests that Triton put together, each on its own: one that fails leaves the others alone."""
        tensors = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        answers = self._service.answer(tensors, [request.requested_output_names() for request in requests])
        return [_response(answer) for answer in answers]

    def finalize(self) -> None:
        """Free everything."""
        self._service.close()


def _response(answer: Any) -> Any:
    if not isinstance(answer, Exception):
        try:
            return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in answer.items()])
        except Exception as error:  # such as of masks that are larger than the memory shared with the server
            answer = error
    if isinstance(answer, InputError):
        fault = pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG)
    else:
        text = str(answer) if isinstance(answer, XSamError) else f"{type(answer).__name__}: {answer}"
        fault = pb_utils.TritonError(text, pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse(error=fault)
