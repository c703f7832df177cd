"""The ends of ONNX files: batches of every size and none, several inputs and outputs, open sizes, unsorted nodes.

The truth is onnxruntime on the file as it was saved, one call for what the file takes at once.
"""

from __future__ import annotations

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

Shape = list[Any]


class File:
    """An ONNX file of given nodes; numbers among their inputs become tensors of the file."""

    def __init__(self, path: Path, *nodes: Any, opset: int = 17, **inputs: Shape) -> None:
        self.path = path / "network.onnx"
        weights, plain = [], []
        for operator, given, output, *options in nodes:
            names = []
            for value in given:
                if not isinstance(value, str):
                    weights.append(numpy_helper.from_array(value, f"w{len(weights)}"))
                names.append(value if isinstance(value, str) else weights[-1].name)
            plain.append(helper.make_node(operator, names, [output], f"node_{output}", **dict(*options)))
        entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
        results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        results[0].type.tensor_type.shape.SetInParent()
        graph = helper.make_graph(plain, "network", entries, results, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.save(model, self.path)

    def __call__(self, output: str = "y", **given: np.ndarray) -> Tensor:
        model = onnx.load(self.path)
        model.graph.output[0].name = output
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return torch.from_numpy(
            session.run(None, {name: x.astype(np.float32) for name, x in given.items()})[0]
        ).double()


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def same(found: Tensor, true: Tensor) -> bool:
    return found.numel() == true.numel() and torch.allclose(found.reshape(true.shape), true, rtol=1e-4, atol=1e-5)


def check_points(file: File, network: rr.Network, shape: tuple[int, ...]) -> None:
    """One point is all that the file takes at once."""
    for seed in range(3):
        x = random(*shape, seed=seed)
        assert same(network(torch.from_numpy(x).double().reshape(1, *network.input_shape)), file(x=x))


# ---------------------------------------------------------------- without a batch, or with another one


UNBATCHED: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "a vector times a matrix": ([("MatMul", ["x", random(4, 3)], "h"), ("Relu", ["h"], "y")], (4,)),
    "a matrix times a vector": ([("MatMul", [random(3, 4), "x"], "h"), ("Relu", ["h"], "y")], (4,)),
    "a vector times a vector": ([("Relu", ["x"], "h"), ("MatMul", ["h", random(4)], "y")], (4,)),
    "a column": (
        [("Reshape", ["x", ints(4, 1)], "c"), ("MatMul", [random(3, 4), "c"], "h"), ("Relu", ["h"], "y")], (1, 4)),
    "gemm of a turned column": (
        [("Gemm", ["x", random(3, 4), random(1, 3)], "h", {"transA": 1, "transB": 1, "alpha": 0.5, "beta": -2.0}),
         ("Relu", ["h"], "y")],
        (4, 2),
    ),
    "gemm with the weights in front": (
        [("Gemm", [random(4, 4), "x", "x"], "h", {"transA": 1, "beta": 2.0}), ("Relu", ["h"], "y")], (4, 3)),
    "an image in front of a convolution": (
        [("Unsqueeze", ["x", ints(0)], "i"), ("Conv", ["i", random(4, 2, 3, 3)], "c", {"pads": [1, 1, 1, 1]}),
         ("Relu", ["c"], "r"), ("MaxPool", ["r"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
         ("GlobalAveragePool", ["p"], "g"), ("Flatten", ["g"], "f"), ("Squeeze", ["f", ints(0)], "y")],
        (2, 6, 6),
    ),
    "what runs along the first axis": (
        [("CumSum", ["x", np.array(0, np.int64)], "c"), ("Relu", ["c"], "r"), ("ReduceMax", ["r"], "y", {"axes": [0]})],
        (3, 4),
    ),
    "joined along the first axis": (
        [("Concat", ["x", random(2, 3)], "j", {"axis": 0}), ("LeakyRelu", ["j"], "l"),
         ("Transpose", ["l"], "t"), ("ReduceSum", ["t", ints(-1)], "y", {"keepdims": 0})],
        (4, 3),
    ),
    "einsum": (
        [("Einsum", ["x", random(3, 2)], "e", {"equation": "ab, bc"}), ("Relu", ["e"], "r"),
         ("Einsum", ["r"], "y", {"equation": "ba->ab"})],
        (4, 3),
    ),
    "constants of the input's type": (
        [("CastLike", [np.array(2, np.float64), "x"], "c"), ("Mul", ["x", "c"], "m"), ("Clip", ["m"], "y")], (4,)),
    "one number after all": ([("Relu", ["x"], "r"), ("ReduceMean", ["r"], "y", {"keepdims": 0})], (2, 3)),
    "slices, padding, tiles": (
        [("Slice", ["x", ints(0, 1), ints(3, 9)], "s"), ("Pad", ["s", ints(1, 0, 0, 2)], "p"), ("Relu", ["p"], "r"),
         ("Tile", ["r", ints(2, 1)], "t"), ("Gather", ["t", ints(5, 0, 5)], "g"), ("Expand", ["g", ints(2, 3, 5)], "y"),
         ],
        (4, 4),
    ),
    "spread over more axes": (
        [("Add", ["x", random(2, 1, 4)], "a"), ("Relu", ["a"], "r"), ("Mul", ["r", random(4)], "m"),
         ("Max", ["m", "x"], "y")],
        (3, 4),
    ),
    "batches of images as one point": (
        [("Conv", ["x", random(2, 2, 2, 2)], "c"), ("Relu", ["c"], "r"),
         ("ReduceSum", ["r", ints(0)], "y", {"keepdims": 0})],
        (3, 2, 4, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNBATCHED)
def test_all_of_the_input_is_one_point(name: str, tmp_path: Path) -> None:
    nodes, shape = UNBATCHED[name]
    file = File(tmp_path, *nodes, x=list(shape))
    network = rr.Network.from_onnx(file.path)
    assert network.input_shape == (shape[1:] if shape[0] == 1 else shape)
    check_points(file, network, shape)
    stack = torch.randn(5, *network.input_shape, dtype=torch.float64)
    alone = torch.cat([network(point[None]) for point in stack])
    torch.testing.assert_close(network(stack), alone)


def test_the_shape_says_whether_there_is_a_batch(tmp_path: Path) -> None:
    file = File(tmp_path, ("MatMul", ["x", random(4, 2)], "h"), ("Relu", ["h"], "y"), x=[3, 4])
    x = random(3, 4)
    for asked, shape in ((None, (4,)), ((4,), (4,)), ((3, 4), (3, 4))):
        network = rr.Network.from_onnx(file.path, input_shape=asked)
        assert network.input_shape == shape
        assert same(network(torch.from_numpy(x).double().reshape(-1, *shape)), file(x=x))
    for wrong in ((3,), (4, 4), (1, 3, 4), (), (0,), (-1,)):
        with pytest.raises(ValueError, match=r"\[3, 4\]; input_shape="):
            rr.Network.from_onnx(file.path, input_shape=wrong)


def test_a_batch_of_another_size(tmp_path: Path) -> None:
    """That size is in reshapes, and constants have a row for each member."""
    rows = np.repeat(random(1, 6), 4, 0)
    nodes = [("Add", ["x", rows], "a"), ("Relu", ["a"], "r"), ("Reshape", ["r", ints(4, -1, 3)], "s"),
             ("Concat", ["s", np.repeat(random(1, 1, 3), 4, 0)], "j", {"axis": 1}), ("Relu", ["j"], "k"),
             ("Flatten", ["k"], "f"), ("MatMul", ["f", random(9, 2)], "y")]  # fmt: skip
    file = File(tmp_path, *nodes, x=[4, 6])
    network = rr.Network.from_onnx(file.path)
    assert (network.input_shape, network.output_shape) == ((6,), (2,))
    x = random(4, 6, seed=1)
    assert same(network(torch.from_numpy(x).double()), file(x=x))


@pytest.mark.parametrize("axis", [0, -2])
def test_equal_rows_joined_below_a_batch_are_no_batch(axis: int, tmp_path: Path) -> None:
    rows = np.repeat(random(1, 3), 4, 0)
    nodes = [
        ("Concat", ["x", rows], "j", {"axis": axis}),
        ("Relu", ["j"], "r"),
        ("Slice", ["r", ints(0), ints(4)], "y"),
    ]
    file = File(tmp_path, *nodes, x=[4, 3])
    network = rr.Network.from_onnx(file.path)
    assert network.input_shape == (4, 3)
    check_points(file, network, (4, 3))


def test_rows_that_differ_are_no_batch(tmp_path: Path) -> None:
    """What is added differs from member to member: only all members together are a point."""
    rows = np.repeat(random(1, 6), 4, 0)
    rows[2, 3] = np.nextafter(rows[2, 3], np.float32(9))
    file = File(tmp_path, ("Add", ["x", rows], "a"), ("Relu", ["a"], "y"), x=[4, 6])
    assert rr.Network.from_onnx(file.path).input_shape == (4, 6)
    with pytest.raises(ValueError, match="batch of 4 only"):
        rr.Network.from_onnx(file.path, input_shape=(6,))


def test_what_mixes_a_free_batch_is_refused(tmp_path: Path) -> None:
    mixing: list[Any] = [
        [("ReduceMean", ["x"], "m", {"axes": [0], "keepdims": 1}), ("Sub", ["x", "m"], "s"), ("Relu", ["s"], "y")],
        [("CumSum", ["x", np.array(0, np.int64)], "c"), ("Relu", ["c"], "y")],
        [("Transpose", ["x"], "t"), ("MatMul", ["x", "t"], "y")],
        [("Shape", ["x"], "s"), ("Cast", ["s"], "f", {"to": 1}), ("Slice", ["f", ints(0), ints(1)], "n"),
         ("Div", ["x", "n"], "d"), ("Relu", ["d"], "y")],
    ]  # fmt: skip
    for nodes in mixing:
        path = File(tmp_path, *nodes, x=["N", 3]).path
        with pytest.raises(ValueError, match=r"network\.onnx"):
            rr.Network.from_onnx(path)


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_constant_joined_to_each_member(batch: Any, tmp_path: Path) -> None:
    """A token of class before others, as exporters write it for a batch of one."""
    nodes = [("Concat", [random(1, 1, 3), "x", random(1, 2, 3)], "j", {"axis": 1}), ("Relu", ["j"], "r"),
             ("ReduceSum", ["r", ints(1)], "y", {"keepdims": 0})]  # fmt: skip
    file = File(tmp_path, *nodes, x=[batch, 4, 3])
    network = rr.Network.from_onnx(file.path)
    assert network.input_shape == (4, 3)
    check_points(file, network, (1, 4, 3))
    stack = torch.randn(3, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(network(stack), torch.cat([network(point[None]) for point in stack]))


def test_a_constant_joined_as_a_member_is_refused(tmp_path: Path) -> None:
    file = File(tmp_path, ("Concat", ["x", random(1, 3)], "j", {"axis": 0}), ("Relu", ["j"], "y"), x=["N", 3])
    with pytest.raises(ValueError, match="batch"):
        rr.Network.from_onnx(file.path)


# ---------------------------------------------------------------- sizes that are open


def test_open_sizes_are_given(tmp_path: Path) -> None:
    nodes = [("Conv", ["x", random(3, 2, 3, 3)], "c", {"pads": [1, 1, 1, 1]}), ("Relu", ["c"], "r"),
             ("GlobalAveragePool", ["r"], "g"), ("Flatten", ["g"], "y")]  # fmt: skip
    file = File(tmp_path, *nodes, x=["N", 2, "H", "W"])
    with pytest.raises(ValueError, match=r"\['N', 2, 'H', 'W'\].*input_shape="):
        rr.Network.from_onnx(file.path)
    for size in (4, 7):
        check_points(file, rr.Network.from_onnx(file.path, input_shape=(2, size, 5)), (1, 2, size, 5))
    with pytest.raises(ValueError, match="input_shape="):
        rr.Network.from_onnx(file.path, input_shape=(3, 4, 4))
    open_length = File(tmp_path, ("Relu", ["x"], "y"), x=["M"])
    with pytest.raises(ValueError, match="input_shape="):
        rr.Network.from_onnx(open_length.path)
    assert rr.Network.from_onnx(open_length.path, input_shape=(5,)).input_shape == (5,)


# ---------------------------------------------------------------- several inputs and outputs


def test_all_inputs_but_one_are_fixed(tmp_path: Path) -> None:
    nodes = [("Concat", ["x", "z"], "j", {"axis": 1}), ("MatMul", ["j", random(5, 4)], "h"), ("Relu", ["h"], "r"),
             ("Mul", ["r", "gain"], "y")]  # fmt: skip
    for batch in (1, "N"):
        file = File(tmp_path, *nodes, x=[batch, 3], z=[batch, 2], gain=[1])
        z, gain = random(1, 2), np.array([3.0], np.float32)
        with pytest.raises(ValueError, match=r"inputs \['x', 'z', 'gain'\].*fixed="):
            rr.Network.from_onnx(file.path)
        for given in (z, z[0], torch.from_numpy(z), z[0].tolist()):
            network = rr.Network.from_onnx(file.path, fixed={"z": given, "gain": gain})
            x = random(1, 3, seed=4)
            assert same(network(torch.from_numpy(x).double()), file(x=x, z=z, gain=gain))
        other = rr.Network.from_onnx(file.path, fixed={"x": np.zeros(3), "gain": gain})
        assert other.input_shape == (2,)
        assert same(other(torch.from_numpy(z).double()), file(x=np.zeros((1, 3)), z=z, gain=gain))
        with pytest.raises(rr.UnsupportedOperation, match=r"node_c|node_b"):
            rr.Network.from_onnx(File(tmp_path, ("Mul", ["x", "x"], "b"), ("Neg", ["b"], "y"), x=[1, 3]).path)


@pytest.mark.parametrize(
    ("fixed", "told"),
    [
        ({"q": 1.0}, "fixed= names"), ({"z": np.zeros(3)}, r"fixed\['z'\] has shape"), ({"z": "text"}, "holds"),
        ({"z": np.zeros((3, 2))}, r"fixed\['z'\] has shape"), ({"z": [[[0.0, 0.0]]]}, r"fixed\['z'\] has shape"),
        ({"x": np.zeros(3), "z": np.zeros(2)}, "expected one"), ({"z": [1j, 0]}, "holds"),
    ],
)  # fmt: skip
def test_wrongly_fixed_inputs_are_refused(fixed: dict[str, Any], told: str, tmp_path: Path) -> None:
    file = File(tmp_path, ("Concat", ["x", "z"], "j", {"axis": 1}), ("Relu", ["j"], "y"), x=[1, 3], z=[1, 2])
    with pytest.raises(ValueError, match=told):
        rr.Network.from_onnx(file.path, fixed=fixed)


def test_inputs_that_the_output_does_not_need_are_left_out(tmp_path: Path) -> None:
    file = File(tmp_path, ("Relu", ["x"], "y"), ("Neg", ["z"], "q"), x=[1, 3], z=[1, 2])
    assert rr.Network.from_onnx(file.path).input_shape == (3,)


def test_a_value_inside_is_an_output(tmp_path: Path) -> None:
    nodes = [("MatMul", ["x", random(4, 3)], "h"), ("Relu", ["h"], "r"), ("Tanh", ["r"], "t"), ("Softmax", ["t"], "y")]
    file = File(tmp_path, *nodes, x=[1, 4])
    with pytest.raises(rr.UnsupportedOperation, match="node_t"):
        rr.Network.from_onnx(file.path)
    x = random(1, 4)
    for inner in ("h", "r"):
        assert same(rr.Network.from_onnx(file.path, inner)(torch.from_numpy(x).double()), file(inner, x=x))
    with pytest.raises(ValueError, match="'x' is not among"):
        rr.Network.from_onnx(File(tmp_path, ("Relu", ["x"], "y"), x=[1, 4]).path, output="x")


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_logits_are_what_is_before_the_end(last: str, tmp_path: Path) -> None:
    file = File(tmp_path, ("MatMul", ["x", random(4, 3)], "h"), ("Relu", ["h"], "r"), (last, ["r"], "y"), x=["N", 4])
    with pytest.raises(rr.UnsupportedOperation, match="logits"):
        rr.Network.from_onnx(file.path)
    network, x = rr.Network.from_onnx(file.path, "logits"), random(1, 4)
    assert same(network(torch.from_numpy(x).double()), file("r", x=x))


def test_a_softmax_over_the_batch_is_no_end(tmp_path: Path) -> None:
    file = File(tmp_path, ("Relu", ["x"], "r"), ("Softmax", ["r"], "y", {"axis": 0}), x=["N", 3])
    with pytest.raises(ValueError, match="node_y"):
        rr.Network.from_onnx(file.path, "logits")


# ---------------------------------------------------------------- order


def test_nodes_in_any_order(tmp_path: Path) -> None:
    nodes = [("MatMul", ["x", random(4, 3)], "h"), ("Relu", ["h"], "r"), ("Neg", ["r"], "n"), ("Add", ["n", "h"], "y")]
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        file = File(tmp_path, *(nodes[place] for place in order), x=[1, 4])
        straight, x = File(tmp_path / "..", *nodes, x=[1, 4]), random(1, 4)
        assert same(rr.Network.from_onnx(file.path)(torch.from_numpy(x).double()), straight(x=x))


@pytest.mark.parametrize("nodes", [
    [("Add", ["x", "b"], "a"), ("Relu", ["a"], "b"), ("Neg", ["b"], "y")], [("Add", ["x", "y"], "y")],
    [("Relu", ["x"], "r"), ("Neg", ["x"], "r"), ("Relu", ["r"], "y")],
])  # fmt: skip
def test_circles_and_values_made_twice_are_refused(nodes: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"circle|made twice"):
        rr.Network.from_onnx(File(tmp_path, *nodes, x=[1, 4]).path)


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("options", [
    {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"pads": [0, 1, 2, 0]}, {"pads": [2, 0, 0, 1]},
    {"auto_pad": "VALID"}, {"pads": [1, 0, 0, 0], "dilations": [2, 1]}, {"pads": [0, 1, 1, 0], "ceil_mode": 1},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("operator", ["MaxPool", "Conv", "AveragePool"])
def test_unequal_padding(operator: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Negative numbers everywhere: padding by 0 instead of minus infinity would show in a maximum."""
    if operator != "MaxPool":
        options = {name: given for name, given in options.items() if name not in ("ceil_mode", "dilations")}
    inputs = ["s", random(3, 2, 3, 2)] if operator == "Conv" else ["s"]
    nodes = [("Relu", ["x"], "r"), ("Sub", ["r", np.float32(50)], "s"),
             (operator, inputs, "y", {"kernel_shape": [3, 2], "strides": [2, 2], **options})]  # fmt: skip
    file = File(tmp_path, *nodes, x=[1, 2, 7, 6])
    check_points(file, rr.Network.from_onnx(file.path), (1, 2, 7, 6))


def test_a_file_of_doubles(tmp_path: Path) -> None:
    file = File(tmp_path, ("Relu", ["x"], "y"), x=[1, 3])
    model = onnx.load(file.path)
    for entry in (model.graph.input[0], model.graph.output[0]):
        entry.type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(model, file.path)
    assert rr.Network.from_onnx(file.path).input_dtype == torch.float64


def test_a_value_inside_a_file_of_doubles(tmp_path: Path) -> None:
    file = File(tmp_path, ("Relu", ["x"], "h"), ("Neg", ["h"], "y"), x=[1, 3])
    model = onnx.load(file.path)
    for entry in (model.graph.input[0], model.graph.output[0]):
        entry.type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(model, file.path)
    assert len(rr.Network.from_onnx(file.path, output="h").gates) == 1


def test_norms_over_no_axes_are_of_each_number(tmp_path: Path) -> None:
    nodes = [("ReduceL1", ["x"], "y", {"noop_with_empty_axes": 1})]
    file = File(tmp_path, *nodes, opset=18, x=[4])
    check_points(file, rr.Network.from_onnx(file.path), (4,))


def test_means_of_tensors_that_are_spread_are_refused_by_name(tmp_path: Path) -> None:
    file = File(tmp_path, ("Mean", ["x", random(3, 1)], "m"), ("Relu", ["m"], "y"), x=[4])
    with pytest.raises(rr.UnsupportedOperation, match="node_m"):
        rr.Network.from_onnx(file.path)


def test_what_is_fixed_for_one_point_is_so_for_all_of_a_fixed_batch(tmp_path: Path) -> None:
    z = random(3, seed=5)
    joined = File(tmp_path, ("Concat", ["x", "z"], "j", {"axis": 1}), ("Relu", ["j"], "y"), x=[4, 3], z=[4, 3])
    network, x = rr.Network.from_onnx(joined.path, fixed={"z": z}), random(4, 3)
    assert same(network(torch.from_numpy(x).double()), joined(x=x, z=np.tile(z, (4, 1))))
    total = ("ReduceSum", ["z", ints(0)], "s", {"keepdims": 0})
    file = File(tmp_path, total, ("Add", ["x", "s"], "a"), ("Relu", ["a"], "y"), x=[4, 3], z=[4, 3])
    network = rr.Network.from_onnx(file.path, fixed={"z": z})
    assert same(network(torch.from_numpy(x).double()), file(x=x, z=np.tile(z, (4, 1))))
