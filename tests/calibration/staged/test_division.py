from pathlib import Path

import onnx_ir as ir
import pytest

from xsam_edge.calibration.staged.division import divide, take
from xsam_edge.calibration.statistics.probes import instrument, make_probe
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.runtime.bundle.manifest import read_manifest

LAYER = 4 * (64 * 192 + 64 * 64)  # bytes of one attention of the model that is recorded, and a little less


def outputs(bundle: Path) -> set[str]:
    return {tensor.name for tensor in read_manifest(bundle).graphs["llm"].outputs}


@pytest.mark.parametrize("name", ["phi3_bundle", "qwen3_bundle", "aaai26_bundle"])
@pytest.mark.parametrize("most", [1, 2 * LAYER, 1 << 40])
def test_parts_make_up_the_whole(request: pytest.FixtureRequest, name: str, most: int) -> None:
    bundle: Path = request.getfixturevalue(name)
    path, own = bundle / "llm.onnx", outputs(bundle)
    whole = load_graph(path).graph
    division = divide(whole, own, most)
    assert (len(division) == 1) == (most == 1 << 40)
    given: list[str] = []
    weights: list[str] = []
    for part in range(len(division)):
        model = load_graph(path)
        take(model, division, part)
        inputs, made = ({str(value.name) for value in values} for values in (model.graph.inputs, model.graph.outputs))
        onwards = division.output(part)
        assert division.input(part) in inputs
        assert onwards is None or onwards in made
        given += made - {onwards}
        matrices = [key for key, value in model.graph.initializers.items() if value.shape and len(value.shape) > 1]
        weights += matrices
        if most == 1:
            assert len(matrices) <= 5, "the products between two sums"
    assert sorted(given) == sorted(own)
    assert sorted(set(weights)) == sorted(
        key for key, value in whole.initializers.items() if value.shape and len(value.shape) > 1
    )


def test_what_was_added_to_a_graph_is_in_the_part_of_what_it_looks_at(phi3_bundle: Path) -> None:
    path, own = phi3_bundle / "llm.onnx", outputs(phi3_bundle)
    division = divide(load_graph(path).graph, own, 1)

    def watched() -> ir.Model:
        model = load_graph(path)
        products = [node for node in model.graph if node.op_type == "MatMul" and node.inputs[1].is_initializer()]
        instrument(model, [make_probe(value, -1) for value in dict.fromkeys(node.inputs[0] for node in products)])
        return model

    assert divide(watched().graph, own, 1) == division
    seen = []
    for part in range(len(division)):
        model = watched()
        take(model, division, part)
        added = [str(value.name) for value in model.graph.outputs if "\t" in str(value.name)]
        makers = {str(value.name).partition("\t")[0] for value in model.graph.outputs} & {
            str(value.name) for node in model.graph for value in node.outputs
        }
        assert {name.partition("\t")[0] for name in added} - {division.input(part)} <= makers
        seen += added
    assert sorted(seen) == sorted(str(value.name) for value in watched().graph.outputs if "\t" in str(value.name))
