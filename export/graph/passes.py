"""Passes over a traced graph: evaluate what depends on weights only, drop what is dead, give nodes readable names.

A traced graph computes with its weights: it transposes the matrix of every linear layer, slices fused projections,
gathers position biases, builds position encodings. All of that is the same for every image, so it is evaluated once,
when the weights are written. What is to be evaluated is kept as a plan (:class:`WeightPlan`), because weights are not
in memory while graphs are made.
"""

from __future__ import annotations

import ast
import logging
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass
from onnxscript import optimizer, rewriter

from xsam_edge.export.graph.weight_codes import WeightQuantization

# Constants up to this size stay inside of the graph file, where a reader of the graph sees them.
INLINE_BYTES = 1024
# onnxscript's, without the one that makes a Split of two Slices: at every node it goes through the whole graph, which
# takes half of a large model's export, and no traced graph has such a pair.
_REWRITE_RULES = [rule for rule in rewriter._DEFAULT_REWRITE_RULES if rule.name != "SlicesSplit"]


@dataclass(frozen=True)
class WeightPlan:
    """How the value of one initialiser comes about.

    ``parameters`` are the checkpoint's names it is made from. Without ``program`` the value is the one parameter,
    transposed if ``transpose``; with it, ``program`` is a model without inputs of its own that computes the value
    from the parameters. With ``quantization`` the value is the codes of the one parameter, which is not transposed.
    """

    parameters: tuple[str, ...]
    transpose: bool = False
    program: ir.Model | None = None
    quantization: WeightQuantization | None = None


def initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol | np.ndarray) -> ir.Value:
    """The graph's initialiser of a name, made of ``tensor`` if there is none yet."""
    if name not in graph.initializers:
        if isinstance(tensor, np.ndarray):
            tensor = ir.tensor(tensor, name=name)
        graph.initializers[name] = ir.Value(
            name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
    return graph.initializers[name]


def simplify(model: ir.Model) -> None:
    """Fold shapes and scalar constants, remove what is unused. Weights are not touched."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of every initialiser that has no value, which is all of ours
    try:
        common.InlinePass()(model)
        _fold_and_rewrite(model)
        _clean_up(model)
    finally:
        logger.setLevel(level)
    for function in list(model.functions):
        raise AssertionError(f"the traced graph calls a function, {function}")


def _fold_and_rewrite(model: ir.Model, rounds: int = 2) -> None:
    rewrite = ir.passes.Sequential(
        rewriter.RewritePass(_REWRITE_RULES),
        RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]  # onnx-ir leaves its constructor untyped
        common.RemoveUnusedOpsetsPass(),
    )
    for _ in range(rounds):
        folded = optimizer.fold_constants_ir(
            model, input_size_limit=8192, output_size_limit=65536, onnx_shape_inference=True
        )
        rewritten = rewrite(model)
        if not (folded.modified or rewritten.modified):
            break


def _clean_up(model: ir.Model) -> None:
    ir.passes.Sequential(
        RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
        RemoveUnusedNodesPass(),
    )(model)


def extract_weights(model: ir.Model) -> dict[str, WeightPlan]:
    """Replace every sub-graph that depends on no input by an initialiser, and return how to compute each.

    On return each initialiser has either a value (a small constant) or a plan under its name.
    """
    graph = model.graph
    static = set(graph.initializers.values())
    for node in graph:
        if all(value is None or value in static for value in node.inputs):
            static.update(node.outputs)
    outputs = set(graph.outputs)
    frontier = [
        value
        for node in graph
        for value in node.outputs
        if value in static and (value in outputs or any(use.node.outputs[0] not in static for use in value.uses()))
    ]
    plans: dict[str, WeightPlan] = {}
    for value in frontier:
        plan = _plan(graph, value)
        _replace_by_initializer(graph, value, plan, plans)
    RemoveUnusedNodesPass()(model)
    drop_unused_initializers(graph)
    for name, value in graph.initializers.items():
        if value.const_value is None and name not in plans:
            plans[name] = WeightPlan((name,))
    return plans


def _plan(graph: ir.Graph, value: ir.Value) -> WeightPlan:
    node = value.producer()
    assert node is not None
    source = node.inputs[0] if node.inputs else None
    if (
        node.op_type == "Transpose"
        and source is not None
        and source.is_initializer()
        and source.const_value is None
        and list(node.attributes["perm"].as_ints()) == [1, 0]
    ):
        assert source.name is not None
        return WeightPlan((source.name,), transpose=True)
    nodes, leaves = _ancestors(value)
    inputs = {leaf: leaf for leaf in leaves if leaf.const_value is None}
    program, parameters = _clone(nodes, list(inputs), [leaf for leaf in leaves if leaf.const_value is not None], value)
    return WeightPlan(parameters, program=program)


def _ancestors(value: ir.Value) -> tuple[list[ir.Node], list[ir.Value]]:
    """Nodes that lead to a value, in order, and the initialisers that they start from."""
    nodes: dict[ir.Node, None] = {}
    leaves: dict[ir.Value, None] = {}

    def visit(current: ir.Value) -> None:
        producer = current.producer()
        if producer is None:
            leaves[current] = None
            return
        if producer in nodes:
            return
        for source in producer.inputs:
            if source is not None:
                visit(source)
        nodes[producer] = None

    visit(value)
    return list(nodes), list(leaves)


def _clone(
    nodes: list[ir.Node], parameters: list[ir.Value], constants: list[ir.Value], result: ir.Value
) -> tuple[ir.Model, tuple[str, ...]]:
    copies: dict[ir.Value, ir.Value] = {}
    for value in (*parameters, *constants):
        assert value.dtype is not None
        copies[value] = ir.Value(
            name=value.name, shape=value.shape, type=ir.TensorType(value.dtype), const_value=value.const_value
        )
    cloned = []
    for node in nodes:
        copy = ir.Node(
            node.domain,
            node.op_type,
            [None if source is None else copies[source] for source in node.inputs],
            list(node.attributes.values()),
            num_outputs=len(node.outputs),
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name, new.type, new.shape = old.name, old.type, old.shape
            copies[old] = new
        cloned.append(copy)
    graph = ir.Graph(
        [copies[value] for value in parameters],
        [copies[result]],
        nodes=cloned,
        initializers=[copies[value] for value in constants],
        opset_imports={"": 20},
        name="weights",
    )
    return ir.Model(graph, ir_version=10), tuple(str(value.name) for value in parameters)


def _replace_by_initializer(graph: ir.Graph, value: ir.Value, plan: WeightPlan, plans: dict[str, WeightPlan]) -> None:
    tensor = None
    name = f"{plan.parameters[0]}.T" if plan.transpose else str(value.name)
    if plan.program is not None and not plan.parameters:
        tensor = ir.tensor(evaluate(plan.program, {}), name=name)
        plan = WeightPlan((), program=plan.program)
    if name in graph.initializers:  # a second use of the same transposed matrix
        replacement = graph.initializers[name]
    else:
        shape, dtype = value.shape, value.dtype
        if tensor is not None:
            shape, dtype = ir.Shape(tensor.shape.numpy()), tensor.dtype
        if plan.transpose:
            source = graph.initializers[plan.parameters[0]]
            assert source.shape is not None
            shape, dtype = ir.Shape(list(source.shape)[::-1]), source.dtype
        if dtype is None:
            raise AssertionError(f"the type of {value.name} is unknown")
        replacement = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=tensor)
        graph.initializers[name] = replacement
        if tensor is None:
            plans[name] = plan
    value.replace_all_uses_with(replacement, replace_graph_outputs=False)


def drop_unused_initializers(graph: ir.Graph) -> None:
    """Remove the initialisers that no node reads."""
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]


def evaluate(program: ir.Model, parameters: dict[str, np.ndarray]) -> np.ndarray:
    """Run a weight program in numpy."""
    from onnx.reference import ReferenceEvaluator

    results = ReferenceEvaluator(ir.to_proto(program)).run(None, parameters)
    assert isinstance(results, list)  # a mapping only where intermediate results are asked for
    return np.asarray(results[0])


def infer_types(model: ir.Model) -> None:
    """Fill in the type of every value."""
    # Without data propagation, which stores every element of a constant index table as a message of its own.
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)


def _rename_constants(graph: ir.Graph) -> None:
    constants = [value for value in graph.initializers.values() if value.const_value is not None]
    for value in constants:
        del graph.initializers[str(value.name)]
    for value in constants:
        if use := next(iter(value.uses()), None):
            value.name = f"{use.node.name}_input_{use.idx}"
            graph.initializers[value.name] = value


def _scope(node: ir.Node) -> str:
    raw = node.metadata_props.get("pkg.torch.onnx.name_scopes")
    scopes: list[Any] = ast.literal_eval(raw) if raw else []
    return str(scopes[-2]) if len(scopes) > 1 else ""


def rename(model: ir.Model) -> None:
    """Name nodes by the module they come from: ``/llm/model/layers.0/self_attn/qkv_proj/MatMul``.

    Values are named after their nodes, constants after the first node that uses them; inputs, outputs and parameters
    keep their names. The exporter's own metadata (stack traces with paths of the exporting machine among them) is
    removed.
    """
    counts: Counter[str] = Counter()
    kept = {id(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    for node in model.graph:
        scope = re.sub(r"\.(?=\D)", "/", _scope(node))
        base = f"/{scope}/{node.op_type}" if scope else f"/{node.op_type}"
        index = counts[base]
        counts[base] += 1
        node.name = f"{base}_{index}" if index else base
        node.metadata_props.clear()
        for position, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if id(value) not in kept:
                value.name = f"{node.name}_output_{position}"
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    _rename_constants(model.graph)
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
