"""The README of a model repository."""

from __future__ import annotations

from collections.abc import Iterable

from xsam_edge.runtime.triton.requests import MOST
from xsam_edge.runtime.triton.signature import INPUTS, OUTPUTS, TASKS, Tensor


def page() -> str:
    """Its Markdown."""
    return f"""\
# X-SAM for Triton

Written by `xsam-export --triton`. The Python of the server's Python backend needs xsam-edge and what runs the bundle,
such as `pip install 'xsam-edge[cpu]'`. Then:

```bash
tritonserver --model-repository . --model-control-mode explicit --load-model xsam
```

`xsam/config.pbtxt` names the bundle, the device, threads, and how many images stay encoded. Shapes are below without
the leading 1 that every tensor has: a request is a batch of one. It asks about one image, with up to {MOST} prompts or
{MOST} boxes and points. Name the outputs that you want: the others are not computed.

## Inputs

`TASK` and one of `IMAGE` and `PIXELS` are always needed.

| input | type | shape | what it is | tasks |
|---|---|---|---|---|
{_rows(INPUTS, tasks=True)}

## Outputs

| output | type | shape | what it is |
|---|---|---|---|
{_rows(OUTPUTS, tasks=False)}

An input that cannot be used is an error of that request alone (HTTP 400), whose message says what was found, what was
expected and what to do.
"""


def _rows(tensors: Iterable[Tensor], tasks: bool) -> str:
    return "\n".join(_row(tensor, tasks) for tensor in tensors)


def _row(tensor: Tensor, tasks: bool) -> str:
    shape = ", ".join("any" if size == -1 else str(size) for size in tensor.dims)
    cells = [f"`{tensor.name}`", tensor.dtype, f"[{shape}]", tensor.meaning]
    if tasks:
        cells.append("all" if tensor.tasks == TASKS else ", ".join(tensor.tasks))
    return f"| {' | '.join(cells)} |"
