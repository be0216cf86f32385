from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from xsam_edge.calibration.statistics.backend import ProbedBackend
from xsam_edge.calibration.statistics.probes import PARTS, Probe, instrument, make_probe
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.runtime.bundle.manifest import GraphSpec, TensorSpec
from xsam_edge.runtime.errors import BackendError

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
g (TYPE[n, 4, m] x) => (TYPE[n, 4, m] y) { hidden = Exp(x) y = Neg(hidden) }"""


def model(kind: str = "float") -> ir.Model:
    proto = onnx.parser.parse_model(TEXT.replace("TYPE", kind))
    proto.graph.node[0].name = "/block/Exp"
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def values(graph: ir.Graph) -> dict[str, ir.Value]:
    return {str(value.name): value for value in [*graph.inputs, *(out for node in graph for out in node.outputs)]}


@pytest.mark.parametrize("tensor", ["x", "hidden", "y"])
@pytest.mark.parametrize(("kind", "dtype"), [("float", "float32"), ("float16", "float16")])
def test_statistics_equal_numpys(tmp_path: Path, tensor: str, kind: str, dtype: str) -> None:
    ir.save(model(kind), tmp_path / "g.onnx")
    heard: list[tuple[str, Probe, dict]] = []
    backend = ProbedBackend(
        lambda loaded: [make_probe(values(loaded.graph)[tensor], -2)],
        lambda file, probe, parts: heard.append((file, probe, dict(parts))),
        1,
    )
    shape = ("n", 4, "m")
    spec = GraphSpec("g.onnx", (TensorSpec("x", dtype, shape),), (TensorSpec("y", dtype, shape),))
    graph = backend.open(tmp_path / "g.onnx", spec)
    stats = TensorStats.empty(4, True)
    rng = np.random.default_rng(0)
    seen = []
    for size in ((2, 4, 5), (1, 4, 1), (1, 4, 0)):
        x = rng.standard_normal(size).astype(dtype)
        y = backend.allocate(size, dtype)
        graph.run({"x": backend.upload(x)}, {"y": y})
        np.testing.assert_allclose(backend.download(y), -np.exp(x.astype(np.float32)), rtol=2e-3)
        whole = {"x": x, "y": backend.download(y), "hidden": -backend.download(y)}[tensor]
        seen.append(whole.astype(np.float32).transpose(0, 2, 1).reshape(-1, 4))
        file, probe, parts = heard[-1]
        assert file == "g.onnx" and list(parts) == list(PARTS)
        stats.add(*(parts[part] for part in PARTS[:4]), int(parts["size"][0]))
    assert heard[0][1] == Probe(tensor, 4, 1, {"x": "", "hidden": "/block/Exp"}.get(tensor, probe.node))
    rows = np.concatenate(seen)
    assert stats.size == len(rows) == 11
    # On a CPU float16 nodes compute in float32: probes see values before they are rounded.
    tolerance = 0 if kind == "float" else 1e-3
    np.testing.assert_allclose(stats.lowest, rows.min(0), rtol=tolerance)
    np.testing.assert_allclose(stats.highest, rows.max(0), rtol=tolerance)
    np.testing.assert_allclose(stats.energy, np.square(rows).mean(0), rtol=1e-5 + tolerance)
    assert stats.histogram.sum() == rows.size, "few rows are all counted"


@pytest.mark.parametrize(("count", "least"), [(511, 511), (512, 170), (4096, 170), (9999, 170)])
def test_many_rows_are_thinned_at_an_odd_step(tmp_path: Path, count: int, least: int) -> None:
    found: list[np.ndarray] = []
    ir.save(model(), tmp_path / "g.onnx")
    backend = ProbedBackend(
        lambda loaded: [make_probe(values(loaded.graph)["x"], 1)], lambda *heard: found.append(heard[2]["rows"]), 1
    )
    spec = GraphSpec("g.onnx", (TensorSpec("x", "float32", ("n", 4, "m")),), ())
    x = np.zeros((1, 4, count), np.float32)
    x[0, 0] = np.arange(count)
    backend.open(tmp_path / "g.onnx", spec).run({"x": backend.upload(x)}, {"y": backend.allocate(x.shape, "float32")})
    assert least <= len(found[0]) <= 512
    steps = np.unique(np.diff(found[0][:, 0]))
    assert len(steps) == 1 and steps[0] % 2 == 1


def test_what_cannot_be_probed() -> None:
    graph = model().graph
    with pytest.raises(ValueError, match="m channels; expected a fixed number"):
        make_probe(values(graph)["x"], -1)
    with pytest.raises(ValueError, match="at least two axes"):
        make_probe(ir.Value(name="v", shape=ir.Shape([4])), 0)
    probe = make_probe(values(graph)["x"], 1)
    with pytest.raises(ValueError, match="x is probed twice"):
        instrument(model(), [probe, probe])
    with pytest.raises(ValueError, match="other is not in the graph"):
        instrument(model(), [Probe("other", 4, 1)])


def test_a_damaged_graph(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with pytest.raises(BackendError, match="cannot be"):
        ProbedBackend(lambda _: [], lambda *_: None).open(tmp_path / "g.onnx", GraphSpec("g.onnx", (), ()))
