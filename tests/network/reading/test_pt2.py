"""Loading .pt2 files: ordinary ones as torch does, hostile ones not at all."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.network.reading.pt2 import module_from_pt2
from tests.models import Wrapped, mlp
from tests.pt2_files import altered, exported, node, pickled, saved, with_graph


class RunsACommand:
    """What a pickle can do to whoever loads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


class Shapes(nn.Module):
    """Sizes computed in the graph, parts, an operation in place, constants made and kept, and two outputs by key."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 3, 3, padding="same"), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
        self.head = nn.Linear(24, 3)
        self.register_buffer("shift", torch.randn(4), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits, and what they are made of."""
        y = self.body(x)
        y = y.view(y.size(0), -1) + torch.arange(48) * 0.5
        first, second = y.chunk(2, 1)
        y = torch.maximum(first, second.clone()).reshape(-1, 6, 4) + self.shift
        y += 0.5
        return {"features": y, "logits": self.head(y.flatten(1))}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return saved(mlp(4, 8, 3), (4,), tmp_path_factory.mktemp("saved") / "model.pt2").read_bytes()


@pytest.fixture
def path(content: bytes, tmp_path: Path) -> Path:
    (tmp_path / "model.pt2").write_bytes(content)
    return tmp_path / "model.pt2"


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (mlp(4, 8, 3), (4,)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), (2, 8, 8)),
        (mlp(4, 8, 3).double(), (4,)),
        (nn.ReLU().double(), (4,)),
    ],
)
def test_reads_what_torch_exports(model: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = torch.randn(5, *shape, dtype=next(model.parameters(), torch.zeros(0)).dtype)
    program = torch.export.export(model.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("N")},))
    torch.export.save(program, tmp_path / "model.pt2")
    network = rr.Network.from_exported(tmp_path / "model.pt2")
    assert network.input_dtype == x.dtype
    torch.testing.assert_close(network(x.double()).to(x.dtype), model(x), rtol=1e-5, atol=1e-6)
    assert network.describe() == rr.Network.from_module(model, shape).describe()


def test_reads_what_was_decomposed(tmp_path: Path) -> None:
    model, x = mlp(4, 8, 3), torch.randn(5, 4)
    torch.export.save(exported(model, (4,)).run_decompositions(), tmp_path / "model.pt2")
    network = rr.Network.from_exported(tmp_path / "model.pt2")
    torch.testing.assert_close(network(x.double()).float(), model(x), rtol=1e-5, atol=1e-6)


def test_reads_sizes_parts_and_outputs_by_key(tmp_path: Path) -> None:
    model = Shapes()
    torch.export.save(exported(model, (2, 4, 4)), tmp_path / "model.pt2")
    x = torch.randn(5, 2, 4, 4)
    for output in ("logits", "features", 1, -2):
        network = rr.Network.from_exported(tmp_path / "model.pt2", output)
        expected = list(model(x).values())[output] if isinstance(output, int) else model(x)[output]
        torch.testing.assert_close(network(x.double()).float(), expected, rtol=1e-5, atol=1e-6)
    assert "body.0" in network.describe()
    for output in (None, "labels", 2):
        with pytest.raises(ValueError, match=r"model\.pt2.*names \['features', 'logits'\]"):
            rr.Network.from_exported(tmp_path / "model.pt2", output)


def test_what_an_einsum_sums_over_is_read(tmp_path: Path) -> None:
    layers = {"a": nn.Linear(4, 6), "b": nn.Linear(3, 5)}
    model = Wrapped(lambda m, x: torch.einsum("bij, kj -> bik", m.a(x).view(-1, 2, 3), m.b.weight).relu(), **layers)
    program = exported(model, (4,))
    assert any("einsum" in str(node.target) for node in program.graph.nodes)
    torch.export.save(program, tmp_path / "model.pt2")
    x = torch.randn(3, 4)
    found = rr.Network.from_exported(tmp_path / "model.pt2")(x.double()).float()
    torch.testing.assert_close(found, model(x), rtol=1e-5, atol=1e-6)


def test_a_refusal_names_the_file_and_the_module(tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), (4,), tmp_path / "model.pt2")
    with pytest.raises(rr.UnsupportedOperation, match=r"model\.pt2.*tanh in 1 \(Tanh\)"):
        rr.Network.from_exported(path)


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(mlp(4, 8, 3).eval(), (torch.randn(3, 4),)), tmp_path / "model.pt2")
    with pytest.raises(ValueError, match=r"model\.pt2.*fixed batch size"):
        rr.Network.from_exported(tmp_path / "model.pt2")


# ---------------------------------------------------------------- nothing runs


def test_example_inputs_are_not_unpickled(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    hostile = pickled(((RunsACommand(trace),), {}))
    altered(path, lambda name, content: hostile if "sample_inputs" in name else content)
    rr.Network.from_exported(path)
    assert not trace.exists()


def test_pickled_weights_are_refused(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    hostile = pickled(RunsACommand(trace))

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true')
        return hostile if name.endswith("weight_0") else content

    with pytest.raises(ValueError, match="is pickled"):
        rr.Network.from_exported(altered(path, change))
    assert not trace.exists()


def test_shape_expressions_are_not_evaluated(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    hostile = f"__import__('os').mkdir('{trace}')".encode()

    def change(name: str, content: bytes) -> bytes:
        before, found, after = content.partition(b'"expr_str": "')
        assert found or not name.endswith("model.json"), "the program has no shape expression to replace"
        return before + found + hostile + b'"' + after.partition(b'"')[2] if found else content

    rr.Network.from_exported(altered(path, change))
    assert not trace.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system", "torch.ops.aten.from_file.default", "torch.ops.aten.rand.default", "torch.ops.aten.relu",
        "torch.ops.aten.relu.__class__", "torch.ops.aten.__class__.mro", "torch.ops.higher_order.cond", "_operator.pow",
        "torch.ops.aten.relu.default\n", "math.factorial", "#extension:op", "", "torch.ops.aten.dropout_.nothing",
        "torch.ops.load_library", "torch.ops.aten.set_.source_Tensor", "torch.ops.aten._print.default",
    ],
)  # fmt: skip
def test_other_operations_are_refused(target: str, path: Path) -> None:
    with_graph(path, lambda document: node(document, "relu").update(target=target))
    with pytest.raises(rr.UnsupportedOperation, match=r"model\.pt2.*which is not known to be"):
        rr.Network.from_exported(path)


def test_files_are_not_made_by_what_does_not_depend_on_the_input(path: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        graph = document["graph_module"]["graph"]
        text = {"name": "filename", "arg": {"as_string": str(tmp_path / "made")}, "kind": 1}
        shared = {"name": "shared", "arg": {"as_bool": True}, "kind": 1}
        size = {"name": "size", "arg": {"as_int": 4}, "kind": 1}
        made = {"as_tensor": {"name": "made"}}
        graph["nodes"].insert(
            0,
            {
                "target": "torch.ops.aten.from_file.default",
                "inputs": [text, shared, size],
                "outputs": [made],
                "metadata": {},
            },
        )
        relu = node(document, "relu")
        relu["target"], relu["inputs"][0]["name"] = "torch.ops.aten.maximum.default", "self"
        relu["inputs"].append({"name": "other", "arg": made, "kind": 1})

    with_graph(path, change)
    with pytest.raises(rr.UnsupportedOperation, match="from_file"):
        rr.Network.from_exported(path)
    assert not (tmp_path / "made").exists()


def test_texts_of_the_file_reach_no_source(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name that torch writes, replaced by a marker: what is compiled while the file is read does not hold it."""
    marker = 'planted");print("'
    with zipfile.ZipFile(path) as archive:
        text = archive.read("model/models/model.json").decode()
    for name in ("linear", "relu", "p_0_weight", "x", "0.weight", "L__self___0"):
        text = text.replace(f'"{name}"', json.dumps(marker + name))
    altered(path, lambda name, content: text.encode() if name.endswith("model.json") else content)
    sources: list[str] = []
    monkeypatch.setattr("builtins.compile", _recording(compile, sources))
    monkeypatch.setattr("builtins.exec", _recording(exec, sources))
    with pytest.raises(ValueError, match="has no tensor"):  # whose names the other entry has
        rr.Network.from_exported(path)
    config = "model/data/weights/model_weights_config.json"
    planted = json.dumps(marker + "0.weight").encode()
    altered(path, lambda name, content: content.replace(b'"0.weight"', planted) if name == config else content)
    rr.Network.from_exported(path)
    assert sources and not any("planted" in source for source in sources)


def _recording(function: Callable[..., Any], sources: list[str]) -> Callable[..., Any]:
    def recorded(source: Any, *args: Any, **kwargs: Any) -> Any:
        sources.append(str(source))
        return function(source, *args, **kwargs)

    return recorded


# ---------------------------------------------------------------- what is no program


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"not a \.pt2 file"):
        module_from_pt2(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_state_dict.pt", b"")
    with pytest.raises(ValueError, match=r"torch 2\.8"):
        module_from_pt2(path)
    with pytest.raises(FileNotFoundError):
        module_from_pt2(tmp_path / "none.pt2")
    with pytest.raises(ValueError, match="no ordinary file"):
        module_from_pt2(tmp_path)


def test_a_name_twice_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("model/models/model.json", b"{}")
    with pytest.raises(ValueError, match="several entries"):
        rr.Network.from_exported(path)


@pytest.mark.parametrize("entry", ["models/model.json", "data/weights/model_weights_config.json"])
@pytest.mark.parametrize(
    "document",
    [
        b"[]", b"{}", b"null", b"7", b"", b"\xff", b'{"config": []}', b'{"graph_module": {"graph": 3}}', b"[" * 101,
        b'"' * 99, b'{"a":' * 100_000, b'"\\"' * 100_000, b'{"config": {"0.weight": 3}}',
    ],
)  # fmt: skip
def test_malformed_documents(entry: str, document: bytes, path: Path) -> None:
    altered(path, lambda name, given: document if name.endswith(entry) else given)
    with pytest.raises(ValueError, match=r"model\.pt2"):
        rr.Network.from_exported(path)


def test_a_truncated_file(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.pt2"):
            rr.Network.from_exported(path)


def test_a_key_of_nested_outputs_names_no_other_output(tmp_path: Path) -> None:
    model = Wrapped(lambda m, x: {"a": {"x": x + 1, "y": x + 2}, "b": ()})
    with pytest.raises(ValueError, match="output='b' does not name one"):
        rr.Network.from_exported(saved(model, (4,), tmp_path / "model.pt2"), "b")
