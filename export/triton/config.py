"""The text of ``config.pbtxt``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language.batch import MAX_BATCH
from xsam_edge.runtime.triton.signature import INPUTS, OUTPUTS, Tensor

MODEL = "xsam"


@dataclass(frozen=True)
class Instances:
    """How many processes run the model, on a GPU or not, and their parameters."""

    count: int
    gpu: bool
    parameters: Mapping[str, str]


def config_text(instances: Instances) -> str:
    """``config.pbtxt``.

    Raises:
        InputError: a parameter, which is a path, that is no text in UTF-8.
    """
    kind, gpus = ("KIND_GPU", " gpus: [ 0 ]") if instances.gpu else ("KIND_CPU", "")
    parameters = "\n".join(_parameter(name, value) for name, value in instances.parameters.items())
    return f"""\
name: "{MODEL}"
backend: "python"

# Up to so many requests, each with a batch of one, are handed over together, which takes allow_ragged_batch as they
# differ in shape. Those about one image share its scene, and their phrases a batch. With 0 Triton would hand requests
# over one by one, and shapes would have no leading 1.
max_batch_size: {MAX_BATCH}

# Requests that came while an instance was busy are put together, where they have the same inputs. A delay makes it wait
# for further ones: every answer comes later by it, and only clients that ask at the same moment gain.
dynamic_batching {{
  max_queue_delay_microseconds: 0
}}

# An instance is a process that loads the bundle, and on a CPU runs `threads` of it.
instance_group [ {{ count: {instances.count} kind: {kind}{gpus} }} ]

# All text. bundle: absolute, or relative to the folder of this file. device: cpu, cuda or tensorrt-rtx; of engines no
# matter. threads: of a CPU, 0 for every core. scenes: images that stay encoded. Also context, tokens of prompt and
# answer, and verify: full, changed or none.
{parameters}

input [
{_tensors(INPUTS)}
]

output [
{_tensors(OUTPUTS)}
]
"""


def _parameter(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{value!r} is not UTF-8, which config.pbtxt needs; rename the folder, or copy it in"
        ) from None
    return f'parameters {{ key: "{name}" value: {{ string_value: {json.dumps(value, ensure_ascii=False)} }} }}'


def _tensors(tensors: Iterable[Tensor]) -> str:
    return ",\n".join(_tensor(tensor) for tensor in tensors)


def _tensor(tensor: Tensor) -> str:
    dtype = "STRING" if tensor.dtype == "BYTES" else tensor.dtype
    fields = [f'name: "{tensor.name}"', f"data_type: TYPE_{dtype}", f"dims: [ {', '.join(map(str, tensor.dims))} ]"]
    if tensor in INPUTS:
        fields += ["optional: true"] * tensor.optional + ["allow_ragged_batch: true"]
    return f"  # {tensor.meaning}\n  {{ {' '.join(fields)} }}"
