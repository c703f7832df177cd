"""ONNX files: what is read walks as onnxruntime answers, and what cannot be read is refused by the node's name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import relu_regions as rr

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2fx")  # needs Python 3.11
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from relu_regions.network.reading.foreign import Asked  # noqa: E402
from relu_regions.network.reading.onnx_reading import check_against_onnxruntime, open_onnx  # noqa: E402


class Graph:
    """Collects the nodes and weights of an ONNX file; every method gives the name of what it adds."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.random = np.random.default_rng(seed)

    def node(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = f"out_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.random.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5)

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def gemm(self, x: str, inputs: int, outputs: int) -> str:
        return self.node("Gemm", x, self.weight(outputs, inputs), self.weight(outputs), transB=1)

    def conv(self, x: str, inputs: int, outputs: int, size: int = 3, **attributes: Any) -> str:
        kernel = self.weight(outputs, inputs // attributes.get("group", 1), size, size)
        return self.node("Conv", x, kernel, self.weight(outputs), kernel_shape=[size, size], **attributes)

    def save(
        self, path: Path, shape: tuple[int, ...], outputs: list[str], batch: int | str = 1, opset: int = 13
    ) -> Path:
        entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])
        results = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
        graph = helper.make_graph(self.nodes, "network", [entry], results, self.weights)
        opsets = [helper.make_opsetid("", opset)]
        model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))
        for result in model.graph.output:
            result.type.tensor_type.shape.SetInParent()  # a file states some shape, also where none is inferred
        onnx.save(model, path)
        return path


def mlp(g: Graph) -> str:
    """The form of the ACAS Xu files: normalisation, then MatMul and Add."""
    x = g.node("Div", g.node("Sub", "x", g.constant([0.3])), g.constant([0.7]))
    for inputs, outputs in ((6, 12), (12, 9)):
        x = g.relu(g.node("Add", g.node("MatMul", x, g.weight(inputs, outputs)), g.weight(outputs)))
    return g.node("Add", g.weight(4), g.node("MatMul", x, g.weight(9, 4)))


def gemm(g: Graph) -> str:
    """Gemm with and without a transposed weight, with factors, and a LeakyRelu between."""
    x = g.node("Gemm", "x", g.weight(6, 40), g.weight(40), alpha=2.0, beta=0.5)
    return g.gemm(g.node("LeakyRelu", x, alpha=0.2), 40, 3)


def cnn(g: Graph) -> str:
    x = g.node("Constant", value=numpy_helper.from_array(np.float32(0.5)))
    x = g.conv(g.node("Sub", "x", x), 2, 6, pads=[1, 1, 1, 1])
    scale = g.constant(g.random.uniform(-1.5, 1.5, 6))
    variance = g.constant(g.random.uniform(0.5, 2, 6))
    x = g.node("BatchNormalization", x, scale, g.weight(6), g.weight(6), variance)
    x = g.node("MaxPool", g.relu(x), kernel_shape=[2, 2], strides=[2, 2])
    x = g.relu(g.conv(x, 6, 4, size=2, group=2))
    return g.gemm(g.node("Flatten", x), 4 * 2 * 2, 5)


def pools(g: Graph) -> str:
    """Overlapping maximum with ceil_mode, and averages with and without the padding counted."""
    x = g.conv("x", 2, 4, pads=[1, 1, 1, 1])
    x = g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1)
    x = g.relu(g.conv(g.relu(x), 4, 4, size=1))
    x = g.node("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=1)
    x = g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0])
    shape = g.constant([1, -1], np.int64)  # as files for a batch of 1 write it
    return g.gemm(g.node("Reshape", x, shape), 16, 3)


def residual(g: Graph) -> str:
    """Add of a shortcut, Concat of both, and Transpose to channels last and back."""
    first = g.relu(g.conv("x", 2, 4, pads=[1, 1, 1, 1]))
    second = g.conv(first, 4, 4, pads=[1, 1, 1, 1])
    joined = g.node("Concat", g.relu(g.node("Add", first, second)), g.conv("x", 2, 3, size=1), axis=1)
    last = g.node("Add", g.node("Transpose", joined, perm=[0, 2, 3, 1]), g.weight(7))
    back = g.node("Transpose", g.relu(last), perm=[0, 3, 1, 2])
    return g.gemm(g.node("Flatten", back), 7 * 36, 3)


def rearranged(g: Graph) -> str:
    """Shapes computed in the graph, picked positions, constant padding, PRelu, and clipping."""
    x = g.gemm("x", 6, 12)
    batch = g.node("Gather", g.node("Shape", x), g.constant(0, np.int64))
    batch = g.node("Unsqueeze", batch, g.constant([0], np.int64))
    x = g.node("Reshape", x, g.node("Concat", batch, g.constant([3, 4], np.int64), axis=0))
    x = g.node("PRelu", x, g.constant([0.1, 0.2, 0.3, -0.4]))
    x = g.node("Gather", x, g.constant([3, 0, 1], np.int64), axis=2)
    x = g.node("Pad", x, g.constant([0, 1, 0, 0, 0, 1], np.int64), g.constant(0.25))
    x = g.node("Clip", x, g.constant(-0.5), g.constant(1.5))
    return g.gemm(g.node("Flatten", g.node("Dropout", g.node("Identity", x))), 16, 3)


def top_values(g: Graph) -> str:
    """The largest of each column and the smallest of all, in order; their positions are not read."""
    x = g.node("Reshape", g.gemm("x", 6, 20), g.constant([-1, 4, 5], np.int64))
    options = {"axis": 1, "largest": 1, "sorted": 1}
    g.nodes.append(helper.make_node("TopK", [x, g.constant([3], np.int64)], ["values", "positions"], **options))
    x = g.node("Flatten", "values")
    g.nodes.append(helper.make_node("TopK", [x, g.constant([8], np.int64)], ["last", "other"], largest=0))
    return g.gemm("last", 8, 3)


IMAGE = (2, 6, 6)
NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[Graph], str]]] = {
    "normalised mlp": ((6,), mlp),
    "gemm": ((6,), gemm),
    "cnn": (IMAGE, cnn),
    "pools": (IMAGE, pools),
    "residual": (IMAGE, residual),
    "rearranged": ((6,), rearranged),
    "top values": ((6,), top_values),
}


def saved(path: Path, name: str, batch: int | str = 1) -> Path:
    shape, build = NETWORKS[name]
    graph = Graph()
    return graph.save(path / "network.onnx", shape, [build(graph)], batch)


def onnxruntime_outputs(path: Path, points: Tensor) -> Tensor:
    """One point at a time: the file may be for a batch of 1."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = [session.run(None, {"x": point[None].float().numpy()})[0] for point in points]
    return torch.from_numpy(np.concatenate(rows)).double()


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_walk_is_what_onnxruntime_answers(tmp_path: Path, name: str, batch: int | str) -> None:
    path = saved(tmp_path, name, batch)
    network = rr.Network.from_onnx(path)
    assert network.input_shape == NETWORKS[name][0]
    generator = torch.Generator().manual_seed(1)
    x, d = torch.randn(2, 3, *network.input_shape, generator=generator, dtype=torch.float64)
    for index, walked in enumerate(rr.walk(network, x, d, (-3, 3))):
        assert len(walked.breakpoints) > 3
        t = torch.cat([walked.breakpoints, torch.rand(50, generator=generator, dtype=torch.float64) * 6 - 3])
        points = x[index] + t.view(-1, *[1] * len(network.input_shape)) * d[index]
        expected, found = onnxruntime_outputs(path, points), walked.outputs_at(t)
        assert (found - expected).abs().max() <= 2e-6 * (1 + expected.abs().max())


def test_a_bent_unit_for_every_unit_of_the_file(tmp_path: Path) -> None:
    network = rr.Network.from_onnx(saved(tmp_path, "cnn"))
    assert [gate.units for gate in network.gates] == [6 * 36, 6 * 9, 4 * 4]
    assert rr.Network.from_onnx(saved(tmp_path, "rearranged")).gates[0].units == 12


def test_the_weights_are_exactly_those_of_the_file(tmp_path: Path) -> None:
    graph = Graph()
    graph.save(tmp_path / "network.onnx", (3,), [graph.gemm("x", 3, 2)])
    network = rr.Network.from_onnx(tmp_path / "network.onnx")
    weight, bias = (torch.from_numpy(numpy_helper.to_array(w).astype(np.float64)) for w in graph.weights)
    assert torch.equal(network(torch.zeros(1, 3, dtype=torch.float64))[0], bias)
    assert torch.equal(network(torch.eye(3, dtype=torch.float64)), weight.T + bias)


def test_steps_carry_the_names_of_the_nodes(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.node("Relu", graph.gemm("x", 4, 3), name="/layers.0/Relu")
    graph.save(tmp_path / "network.onnx", (4,), [graph.node("Neg", x, name="graph")])
    text = rr.Network.from_onnx(tmp_path / "network.onnx").describe()
    assert "/layers.0/Relu" in text and "Gemm_0" in text and text.endswith(" graph")


def test_one_of_several_outputs(tmp_path: Path) -> None:
    graph = Graph()
    hidden = graph.relu(graph.gemm("x", 4, 6))
    heads = [graph.gemm(hidden, 6, 3), graph.gemm(hidden, 6, 2)]
    path = graph.save(tmp_path / "network.onnx", (4,), heads)
    with pytest.raises(ValueError, match=f"{heads[0]}.*{heads[1]}.*output="):
        rr.Network.from_onnx(path)
    with pytest.raises(ValueError, match="'nothing' is not among"):
        rr.Network.from_onnx(path, output="nothing")
    with pytest.raises(ValueError, match="no position"):
        rr.Network.from_onnx(path, output=2)
    assert [rr.Network.from_onnx(path, output=head).output_shape for head in (*heads, 0, -1)] == [
        (3,),
        (2,),
        (3,),
        (2,),
    ]


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh", "Erf", "Sign", "Softmax"])
def test_refused_by_the_name_of_the_node(tmp_path: Path, operator: str) -> None:
    graph = Graph()
    suspect = graph.node(operator, graph.gemm("x", 4, 3), name=f"/head.2/{operator}")
    graph.save(tmp_path / "network.onnx", (4,), [graph.gemm(suspect, 3, 2)])
    with pytest.raises(rr.UnsupportedOperation, match=f"/head.2/{operator}"):
        rr.Network.from_onnx(tmp_path / "network.onnx")


def test_a_product_of_activations_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.gemm("x", 4, 3)
    graph.save(tmp_path / "network.onnx", (4,), [graph.node("Mul", x, graph.relu(x), name="product")])
    with pytest.raises(rr.UnsupportedOperation, match="product"):
        rr.Network.from_onnx(tmp_path / "network.onnx")


def test_unknown_operators_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    path = graph.save(tmp_path / "network.onnx", (4,), [graph.relu("x")])
    model = onnx.load(path)
    model.graph.node[0].CopyFrom(helper.make_node("Strange", ["x"], ["out_0"], name="strange node", domain="elsewhere"))
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    onnx.save(model, path)
    with pytest.raises(rr.UnsupportedOperation, match=r"Strange \(node 'strange node'\)"):
        rr.Network.from_onnx(path)


def _branch(value: float) -> Any:
    output = helper.make_tensor_value_info("branch", TensorProto.FLOAT, [1])
    node = helper.make_node("Constant", [], ["branch"], value=numpy_helper.from_array(np.float32([value])))
    return helper.make_graph([node], "branch", [], [output])


def test_control_flow_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    positive = graph.node("Greater", graph.node("ReduceSum", "x", keepdims=0), graph.constant(0.0))
    chosen = graph.node("If", positive, name="fork", then_branch=_branch(1.0), else_branch=_branch(2.0))
    graph.save(tmp_path / "network.onnx", (4,), [graph.node("Add", "x", chosen)])
    with pytest.raises(rr.UnsupportedOperation, match=r"control flow.*fork"):
        rr.Network.from_onnx(tmp_path / "network.onnx")


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        rr.Network.from_onnx(tmp_path / "nowhere.onnx")
    for content in (b"", b"no model at all", b"PK\x03\x04"):
        (tmp_path / "text.onnx").write_bytes(content)
        with pytest.raises(ValueError, match="not a valid ONNX model"):
            rr.Network.from_onnx(tmp_path / "text.onnx")


def test_a_wrong_reading_is_found_out(tmp_path: Path) -> None:
    """The check of every reading: one weight of a thousand off by a thousandth is enough."""
    path = saved(tmp_path, "cnn")
    network = rr.Network.from_onnx(path)
    made = open_onnx(path, Asked(), rr.Limits()).made
    model, entry = made.model, made.entry
    check_against_onnxruntime(network, model, entry, batched=True)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight.flat[0] *= 1.001
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, model.graph.initializer[0].name))
    with pytest.raises(rr.UnsupportedOperation, match="differs from onnxruntime"):
        check_against_onnxruntime(network, model, entry, batched=True)


def test_a_missing_converter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "gemm")
    monkeypatch.setitem(sys.modules, "onnx2fx", None)
    with pytest.raises(ImportError, match=r"onnx2fx.*relu-regions\[onnx\]"):
        rr.Network.from_onnx(path)
