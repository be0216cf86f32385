"""The torch model of a bundle: its sizes from ``model_config.json``, its weights from its graphs.

A graph's initialisers are parameters: as they are, transposed, or the result of a small program that was evaluated
when the bundle was written (``export/graph/passes.py``). Tracing the model again gives those programs; nearly all of
them only move values, which is undone by following where each value went.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from xsam_edge.calibration.external_weights import read_model
from xsam_edge.export.bundle import CONFIG_FILE, EMBEDDINGS, build_graph, expected_tensors
from xsam_edge.export.config.sizes import ModelConfig
from xsam_edge.export.config.variants import VARIANTS
from xsam_edge.export.graph.graphs import GRAPHS
from xsam_edge.export.graph.passes import WeightPlan, evaluate
from xsam_edge.export.graph.trace import fake_tensors
from xsam_edge.export.graph.weights import RandomWeights, WeightSource, read
from xsam_edge.export.models.xsam import XSam
from xsam_edge.export.prepare import from_checkpoint
from xsam_edge.runtime.bundle.manifest import EMBEDDINGS_FILE, Manifest, bundle_path
from xsam_edge.runtime.bundle.typed_json import read_json
from xsam_edge.runtime.errors import BundleError
from xsam_edge.runtime.progress import silent

#: Precisions whose graphs hold the weights themselves.
UNQUANTISED = ("fp32", "fp16")
_RANDOM = re.compile(r"random weights, seed (\d+)")


def torch_model(bundle: Path, manifest: Manifest) -> XSam:
    """The torch modules, in float32, with the very weights of a bundle: rounded to FP16 where it is, never quantised.

    Raises:
        BundleError: a precision whose weights cannot be told from the graphs, or a bundle without its sizes.
    """
    config = read_config(bundle, manifest)
    shapes = expected_tensors(config)
    source = _source(manifest, shapes)
    if source is None and manifest.precision not in UNQUANTISED:
        raise BundleError(
            f"{bundle} has precision {manifest.precision}, whose weights torch cannot take; compare it with the "
            f"{' or '.join(UNQUANTISED)} bundle, and that one with torch"
        )
    values = restore(bundle, manifest, config) if source is None else {name: read(source, name) for name in shapes}
    model = XSam(config)
    dtype = np.float16 if manifest.precision == "fp16" else np.float32
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = values[name].astype(dtype).astype(np.float32)
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)).reshape(parameter.shape))
    return model.eval()


def _source(manifest: Manifest, shapes: Mapping[str, tuple[int, ...]]) -> WeightSource | None:
    """The weights that a bundle was made of, where they can be had: random ones, or those of the demo model."""
    if seed := _RANDOM.fullmatch(manifest.source.checkpoint):
        return RandomWeights(shapes, int(seed[1]))
    if manifest.source.checkpoint == "shapes":
        request = from_checkpoint("shapes", variant=manifest.variant, progress=silent)
        return request.weights if request.source == manifest.source else None
    return None


def read_config(bundle: Path, manifest: Manifest) -> ModelConfig:
    """The sizes that a bundle was exported with.

    Raises:
        BundleError: the file is damaged, or it is missing and the bundle is not one of its variant's sizes.
    """
    path = bundle / CONFIG_FILE
    if path.is_file():
        return read_json(path, ModelConfig, BundleError, advice="export the bundle again")
    variant = VARIANTS.get(manifest.variant)
    facts = manifest.settings.model
    if variant is not None and (variant.config.llm.hidden_size, variant.config.llm.num_layers) == (
        facts.hidden_size,
        facts.num_layers,
    ):
        return variant.config
    raise BundleError(f"{bundle} has no {CONFIG_FILE}, which torch needs; export the bundle again")


def restore(bundle: Path, manifest: Manifest, config: ModelConfig) -> dict[str, np.ndarray]:
    """Name -> value of every parameter, from the graphs of a bundle.

    Raises:
        BundleError: a parameter cannot be told.
    """
    shapes = expected_tensors(config)
    table = manifest.embeddings
    rows = np.fromfile(bundle / EMBEDDINGS_FILE, table.dtype).reshape(table.rows, table.columns)
    tensors: dict[str, np.ndarray] = {EMBEDDINGS: rows}
    programs: list[tuple[WeightPlan, np.ndarray]] = []
    with fake_tensors():
        model = XSam(config)
    for name in GRAPHS:
        stored = read_model(bundle_path(bundle, manifest.graphs[name].file)).graph.initializers
        _, plans = build_graph(model, name, "fp16" if manifest.precision == "fp16" else "fp32")
        for key, plan in plans.items():
            if plan.program is None and plan.parameters[0] in tensors:
                continue
            # A bundle of another version may hold a matrix the other way round.
            turned = "" if plan.program else plan.parameters[0] + ("" if plan.transpose else ".T")
            value = stored.get(key) or stored.get(turned)
            if value is None or value.const_value is None:
                continue
            array = value.const_value.numpy()
            if plan.program is None:
                tensors[plan.parameters[0]] = array.T if str(value.name).endswith(".T") else array
            else:
                programs.append((plan, array))
    partial: dict[str, np.ndarray] = {}
    for plan, array in programs:
        if len(plan.parameters) == 1 and plan.parameters[0] not in tensors:
            parameter = plan.parameters[0]
            values = partial.setdefault(parameter, np.full(shapes[parameter], np.nan))
            invert(plan, array, values)
    # Rows that no program takes, such as relative positions that never occur, make no difference.
    tensors |= {name: np.nan_to_num(values) for name, values in partial.items()}
    if missing := sorted(set(shapes) - set(tensors)):
        raise BundleError(f"the graphs of {bundle} do not tell {missing[0]}; export the bundle again")
    return tensors


def invert(plan: WeightPlan, result: np.ndarray, values: np.ndarray) -> None:
    """Fill in the elements of a parameter, ``values``, that a program made ``result`` from.

    The program moves elements, maybe beside constants that it adds, or takes their exponential.

    Raises:
        BundleError: it does anything else.
    """
    (name,), program = plan.parameters, plan.program
    assert program is not None
    if [node.op_type for node in program.graph] == ["Exp"]:
        values[...] = np.log(result.astype(np.float64)).reshape(values.shape)
        return
    added = evaluate(program, {name: np.zeros(values.shape, np.float32)})
    numbered = np.arange(values.size, dtype=np.float32).reshape(values.shape)
    places = np.rint(moved := evaluate(program, {name: numbered}) - added).astype(np.int64)
    known = values.size < 1 << 24 and np.abs(moved - places).max(initial=0) < 0.01  # else float32 cannot number them
    if not known or places.min(initial=0) < 0 or places.max(initial=0) >= values.size:
        raise BundleError(f"how {name} became a weight of a graph cannot be undone")
    values.reshape(-1)[places.reshape(-1)] = (result.astype(np.float64).reshape(added.shape) - added).reshape(-1)
