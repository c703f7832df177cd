"""ONNX files made to do harm: no text of theirs is compiled, nothing is read elsewhere, nothing huge is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import relu_regions as rr
from relu_regions.network.gates import OrderStatistic
from relu_regions.network.reading.foreign import Asked, FileNode
from relu_regions.network.reading.limits import Limits

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2fx")  # needs Python 3.11

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from relu_regions.network.reading.onnx_reading import open_onnx  # noqa: E402

Change = Callable[[Any], None]


def sparse_twin(model: Any) -> None:
    """A sparse tensor of the name that a dense one has; onnxruntime takes the sparse one."""
    twin = model.graph.sparse_initializer.add(dims=[4, 3])
    twin.values.CopyFrom(numpy_helper.from_array(np.array([5], np.float32), "w"))
    twin.indices.CopyFrom(numpy_helper.from_array(np.array([0]), "w_indices"))


def saved(path: Path, change: Change = lambda model: None) -> Path:
    """Gemm, Relu, MatMul with a change."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], "last"),
    ]
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in (("w", (4, 3)), ("v", (4, 2)))
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "network", [source], [result], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def in_front(node: Any, *constants: Any) -> Change:
    """A node that makes the value "made", which is added to the output."""

    def change(model: Any) -> None:
        model.graph.node[2].output[0] = "before"
        model.graph.node.extend([node, helper.make_node("Add", ["before", "made"], ["y"], "sum")])
        model.graph.initializer.extend(constants)

    return change


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


# ---------------------------------------------------------------- names

MARKER = "planted"
NAMES = [
    f'relu" if {MARKER} else "relu',
    f"{MARKER}\n\x00\u202e",
    f"{MARKER}.forward",
    f"{MARKER}'\\{{}}",
    "self",
    "x" * 9999 + MARKER,
]


@pytest.mark.parametrize("name", NAMES)
def test_texts_of_the_file_reach_no_source(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(model: Any) -> None:
        model.graph.name = model.producer_name = model.domain = model.graph.doc_string = name
        model.metadata_props.add(key=name, value=name)
        model.functions.add(name="Relu", domain=name)
        model.opset_import.add(domain=name, version=1)
        names = {}
        for node in model.graph.node:
            node.name = name
            for values in (node.input, node.output):
                for place, value in enumerate(values):
                    values[place] = names.setdefault(value, f"{name}{len(names)}")
        for entry in (*model.graph.initializer, *model.graph.input, *model.graph.output):
            entry.name = names[entry.name]

    sources: list[str] = []
    for builtin, function in (("compile", compile), ("exec", exec)):
        monkeypatch.setattr(f"builtins.{builtin}", _recording(function, sources))
    network = rr.Network.from_onnx(saved(tmp_path / "network.onnx", change))
    assert any("file_node" in source for source in sources)
    assert not any(MARKER in source for source in sources)
    lines = network.describe().splitlines()
    assert len(lines) == 5 and all(line.isprintable() and len(line) < 400 for line in lines)


def _recording(function: Callable[..., Any], sources: list[str]) -> Callable[..., Any]:
    def recorded(source: Any, *args: Any, **kwargs: Any) -> Any:
        sources.append(str(source))
        return function(source, *args, **kwargs)

    return recorded


def test_functions_of_the_file_are_not_called(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        model.functions.add(name="Relu", domain="")

    with pytest.raises(rr.UnsupportedOperation, match=r"network\.onnx.*Relu \(node 'relu'\)"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", change))


# ---------------------------------------------------------------- sizes

THREE = [
    numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("from", 0), ("to", 2**40), ("by", 1))
]
HUGE = {
    "ConstantOfShape": in_front(helper.make_node("ConstantOfShape", ["sizes"], ["made"]), ints("sizes", 2**31, 1)),
    "Expand": in_front(helper.make_node("Expand", ["v", "sizes"], ["made"]), ints("sizes", 2**31, 4, 2)),
    "Tile": in_front(helper.make_node("Tile", ["v", "sizes"], ["made"]), ints("sizes", 2**31, 1)),
    "Range": in_front(helper.make_node("Range", ["from", "to", "by"], ["made"]), *THREE),
    "Pad": in_front(helper.make_node("Pad", ["v", "sizes"], ["made"]), ints("sizes", 0, 0, 2**31, 0)),
    "OneHot": in_front(
        helper.make_node("OneHot", ["places", "depth", "sizes"], ["made"]),
        ints("places", 1), ints("depth", 2**40), ints("sizes", 0, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("operator", HUGE)
def test_huge_constants_are_refused_before_they_are_made(operator: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"network\.onnx.*" + operator):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", HUGE[operator]))


@pytest.mark.parametrize("ones", [2**10, 2**20])
def test_layouts_of_many_axes_are_refused_before_shapes_are_inferred(ones: int, tmp_path: Path) -> None:
    def axes(model: Any) -> None:
        model.graph.node[1].CopyFrom(helper.make_node("Reshape", ["h", "sizes"], ["r"], "apart"))
        model.graph.initializer.append(ints("sizes", 1, 4, *[1] * (ones - 2)))
        del model.graph.node[2:]
        model.graph.output[0].name = "r"

    with pytest.raises(ValueError, match=rf"network\.onnx.*apart.*laid out by {ones:,} numbers"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", axes))


def test_a_split_into_more_parts_than_outputs_is_refused_before_shapes_are_inferred(tmp_path: Path) -> None:
    def parted(model: Any) -> None:
        node = helper.make_node("Split", ["h"], ["one", "other"], "parted", axis=1, num_outputs=10**9)
        model.graph.node[1].CopyFrom(node)
        del model.graph.node[2:]
        model.graph.output[0].name = "one"
        model.opset_import[0].version = 18  # the first that knows num_outputs

    with pytest.raises(ValueError, match=r"network\.onnx.*parted.*2 outputs, and is to have 1,000,000,000"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", parted))


def test_resizing_to_millions_is_refused_before_places_are_compared(tmp_path: Path) -> None:
    def resized(model: Any) -> None:
        del model.graph.node[1:]
        model.graph.initializer.extend([ints("apart", 1, 1, 4), ints("sizes", 1, 1, 2**36)])
        model.graph.node.append(helper.make_node("Reshape", ["h", "apart"], ["r"], "apart"))
        model.graph.node.append(helper.make_node("Resize", ["r", "", "", "sizes"], ["y"], "wide", mode="nearest"))

    with pytest.raises(ValueError, match=r"network\.onnx.*wide.*makes an axis of 68,719,476,736 numbers"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", resized))


def test_a_batch_of_millions_is_refused_before_it_is_made(tmp_path: Path) -> None:
    def batch(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 10**8
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 10**8

    with pytest.raises(ValueError, match=r"network\.onnx.*300,000,000 numbers"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", batch))


def test_an_input_of_thousands_of_axes_is_refused(tmp_path: Path) -> None:
    def axes(model: Any) -> None:
        for _ in range(5000):
            model.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 1

    with pytest.raises(ValueError, match=r"network\.onnx.*the input 'x' has more than 32 axes"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", axes))


def sorting(size: int) -> Change:
    """All numbers of a wide value in order."""

    def change(model: Any) -> None:
        del model.graph.node[1:]
        places = np.arange(size) % 4
        model.graph.initializer.extend([numpy_helper.from_array(places, "places"), ints("k", size)])
        model.graph.node.append(helper.make_node("Gather", ["h", "places"], ["r"], "wide", axis=1))
        model.graph.node.append(helper.make_node("TopK", ["r", "k"], ["y", "order"], "sorted"))

    return change


def test_tables_of_what_is_sorted_are_counted_before_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"network\.onnx.*what sorted compares has 1,000,000,000,000 numbers"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", sorting(10**6)))


def test_the_widest_order_allowed_is_compared_without_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(self: OrderStatistic, values: object) -> object:
        raise AssertionError("a number for each result and each number of its window")

    monkeypatch.setattr(OrderStatistic, "candidates", table)
    assert rr.Network.from_onnx(saved(tmp_path / "network.onnx", sorting(4096))).output_shape == (4096,)


def test_many_positions_stay_a_tensor(tmp_path: Path) -> None:
    path = saved(tmp_path / "network.onnx", sorting(1000))
    module = open_onnx(path, Asked(), Limits()).module(True).module
    held = [part.function.args for part in module.modules() if isinstance(part, FileNode)]
    assert all(len(argument) <= 10 for arguments in held for argument in arguments if isinstance(argument, list))


def test_huge_values_are_refused_before_they_are_made(tmp_path: Path) -> None:
    def padded(model: Any) -> None:
        model.graph.node[1].CopyFrom(helper.make_node("Pad", ["h", "pads"], ["r"], "wide"))
        model.graph.initializer.append(ints("pads", 0, 0, 0, 2**34))
        del model.graph.node[2:]
        model.graph.output[0].name = "r"

    with pytest.raises(ValueError, match=r"network\.onnx.*result of wide.*value_elements"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", padded))

    def wide(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**40
        model.graph.node[0].CopyFrom(helper.make_node("Relu", ["x"], ["h"]))
        del model.graph.node[1:]
        model.graph.output[0].name = "h"

    with pytest.raises(ValueError, match=r"network\.onnx.*the input.*value_elements"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", wide))


def instead_of_relu(*nodes: Any, constants: Sequence[Any] = ()) -> Change:
    def change(model: Any) -> None:
        kept = [node for node in model.graph.node if node.op_type != "Relu"]
        del model.graph.node[:]
        model.graph.node.extend([kept[0], *nodes, kept[1]])
        model.graph.initializer.extend(constants)

    return change


SQUARE = helper.make_node("Reshape", ["h", "square"], ["s"])
FLAT = helper.make_node("Reshape", ["o", "flat"], ["r"])
SIZES = [ints("square", 0, 1, 2, 2), ints("flat", 0, 4)]
NOT_TAKEN = {
    "Pad": instead_of_relu(
        helper.make_node("Pad", ["h", "none"], ["r"], "odd", mode="wrap"), constants=[ints("none", 0, 0, 0, 0)]
    ),
    "Resize": instead_of_relu(
        SQUARE, helper.make_node("Resize", ["s", "", "", "size"], ["o"], "odd", nearest_mode="ceil"), FLAT,
        constants=[*SIZES, ints("size", 1, 1, 1, 4)],
    ),
    "ConvTranspose": instead_of_relu(
        SQUARE, helper.make_node("ConvTranspose", ["s", "k"], ["o"], "odd", output_shape=[2, 2]), FLAT,
        constants=[*SIZES, numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "k")],
    ),
    "Dropout": instead_of_relu(
        helper.make_node("Dropout", ["h", "", "on"], ["r"], "odd"),
        constants=[numpy_helper.from_array(np.array(True), "on")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("operator", NOT_TAKEN)
def test_what_the_converter_takes_wrongly_is_refused(operator: str, tmp_path: Path) -> None:
    with pytest.raises(rr.UnsupportedOperation, match=rf"network\.onnx.*{operator}.*odd"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", NOT_TAKEN[operator]))


@pytest.mark.parametrize("operator", ["RandomNormal", "RandomUniform"])
def test_constants_of_chance_are_refused(operator: str, tmp_path: Path) -> None:
    change = in_front(helper.make_node(operator, [], ["made"], "dice", shape=[1, 2]))
    with pytest.raises(rr.UnsupportedOperation, match=rf"network\.onnx.*{operator}.*dice"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", change))


@pytest.mark.parametrize(
    "content", [pytest.param(b"\x0a\x00" * 5_000_000, marks=pytest.mark.long), b"\x18\x00" * 20_000_000]
)
def test_messages_and_fields_are_counted_before_they_are_parsed(content: bytes, tmp_path: Path) -> None:
    """Two bytes make a node of 160 in memory."""
    length = len(content)
    size = bytes((length >> shift & 127) | 128 for shift in (0, 7, 14)) + bytes([length >> 21])
    path = tmp_path / "network.onnx"
    path.write_bytes(b"\x3a" + size + content)
    with pytest.raises(ValueError, match=r"network\.onnx.*(unpacked_ratio|nodes)"):
        rr.Network.from_onnx(path, limits=Limits(nodes=100_000))


@pytest.mark.parametrize(
    "limit", ["file_bytes", "unpacked_bytes", "tensor_elements", "total_elements", "nodes", "value_elements"]
)
def test_every_limit_is_named_and_can_be_raised(limit: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "network.onnx")
    with pytest.raises(ValueError, match=rf"network\.onnx.*{limit}"):
        rr.Network.from_onnx(path, limits=Limits(**{limit: 2}))
    rr.Network.from_onnx(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.graph.initializer[0].dims.__setitem__(0, 2**40),
        lambda model: model.graph.initializer[0].dims.__setitem__(0, -4),
        lambda model: setattr(model.graph.initializer[0], "data_type", 99),
        lambda model: setattr(model.graph.initializer[0], "data_type", TensorProto.STRING),
        lambda model: model.graph.node[1].output.__setitem__(0, "h"),
        lambda model: model.graph.node[1].input.__setitem__(0, "y"),
        lambda model: model.graph.node[0].attribute.add(name="alpha"),
        lambda model: model.graph.node[0].attribute.add(name="unknown", i=1, type=onnx.AttributeProto.INT),
        lambda model: setattr(model.opset_import[0], "version", 2**62),
        lambda model: setattr(model, "ir_version", 2**62),
        lambda model: model.ClearField("graph"),
        lambda model: model.graph.ClearField("output"),
        lambda model: model.graph.initializer.add().CopyFrom(model.graph.initializer[0]),
        sparse_twin,
    ],
)
def test_malformed_models(change: Change, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"network\.onnx"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", change))


# ---------------------------------------------------------------- external data


def external(location: str, **entries: object) -> Change:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))

    return change


def test_external_data_beside_the_file(tmp_path: Path) -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights").write_bytes(bytes(8) + weights.tobytes())
    path = saved(tmp_path / "network.onnx", external("data/weights", offset=8, length=48))
    first = next(step for step in rr.Network.from_onnx(path).steps if step.constants)
    assert np.array_equal(first.constants[0].numpy(), weights)
    with pytest.raises(ValueError, match=r"network\.onnx.*file_bytes"):
        rr.Network.from_onnx(path, limits=Limits(file_bytes=path.stat().st_size + 40))


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "/etc/passwd",
        "link",
        "folder/../../secret",
        "",
        ".",
        "folder",
        "none",
        "C:\\x",
        "x" * 5000,
        "y/" * 3000,
        "secret\0",
    ],
)
def test_external_data_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    folder = tmp_path / "models"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"network\.onnx.*external data"):
        rr.Network.from_onnx(saved(folder / "network.onnx", external(location)))


@pytest.mark.parametrize("entries", [{"offset": 1}, {"offset": -1}, {"length": 44}, {"offset": "x"}, {"offset": 2**70}])
def test_external_data_that_is_not_there(entries: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(48))
    with pytest.raises(ValueError, match=r"network\.onnx"):
        rr.Network.from_onnx(saved(tmp_path / "network.onnx", external("weights", **entries)))
