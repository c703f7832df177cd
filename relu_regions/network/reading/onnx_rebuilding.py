"""ONNX models made anew: known operators, plain attributes, and names by count; nothing else of the file is passed on.

What later compiles source, infers shapes or runs the model sees no text of the file but words that an operator's
description lists as attributes, such as ``SAME_UPPER``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import onnx
from onnx import AttributeProto, helper

from relu_regions.network.reading.foreign import Asked, Label, shown
from relu_regions.network.reading.onnx_ends import Entry, chosen_output, fixed_tensor, free_input, stated_type
from relu_regions.network.reading.onnx_files import Tensors
from relu_regions.network.reading.onnx_misread import is_misread
from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["Rebuilt", "describe_nodes", "rebuilt"]

_STANDARD = ("", "ai.onnx")
_WORD = re.compile(r"[A-Za-z_]{0,40}")
_EQUATION = re.compile(r"[A-Za-z, .>-]{0,200}")  # of Einsum
_MOST_NUMBERS = 65536  # in one attribute
_MOST_OUTPUTS = 1024  # of one node; tracing a split takes the square of their number
_PLAIN: dict[int, str] = {
    AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints",
}  # fmt: skip


def describe_nodes(nodes: Iterable[onnx.NodeProto]) -> str:
    """Operators and names for a message."""
    return ", ".join(f"{shown(node.op_type)} (node {shown(node.name)!r})" for node in nodes)


class Rebuilt(NamedTuple):
    """A network made anew.

    Attributes:
        model: of one input and one output, without what that output does not need.
        labels: what its names are in the file.
        entry: the input.
        logits: whether what is before a softmax at the end is meant.
    """

    model: onnx.ModelProto
    labels: dict[str, Label]
    entry: Entry
    logits: bool


def rebuilt(model: onnx.ModelProto, asked: Asked, tensors: Tensors) -> Rebuilt:
    """The same network of one output, its other inputs fixed, its nodes in order.

    Args:
        model: of a file, as parsed.
        asked: the output to keep, what the inputs but one hold, and the shape of that one.
        tensors: copies the numbers of the file.

    Raises:
        ValueError: the graph has a circle, several inputs or outputs, or its sizes are open.
        UnsupportedOperation: it has operators, types or attributes that are not read.
    """
    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise ValueError(f"its format is of version {model.ir_version}; versions 3 to {onnx.IR_VERSION} are read")
    rebuilding = _Rebuilding(model, _opset(model), tensors)
    made, entry = rebuilding.model(asked)
    return Rebuilt(made, rebuilding.labels, entry, rebuilding.logits)


def _opset(model: onnx.ModelProto) -> int:
    versions: set[int] = {int(opset.version) for opset in model.opset_import if opset.domain in _STANDARD}
    if len(versions) != 1 or not 1 <= min(versions) <= onnx.defs.onnx_opset_version():
        raise ValueError(
            f"it asks for the operators of versions {sorted(versions)}; one of 1 to {onnx.defs.onnx_opset_version()} "
            "is read"
        )
    return versions.pop()


class _Rebuilding:
    """Goes through a graph from its output back to its input, and then makes it anew in order."""

    def __init__(self, model: onnx.ModelProto, opset: int, tensors: Tensors) -> None:
        self.file, self.graph = model, model.graph
        self.opset = opset
        self.tensors = tensors
        self.labels: dict[str, Label] = {}
        self.logits = False
        self._names: dict[str, str] = {}

    def model(self, asked: Asked) -> tuple[onnx.ModelProto, Entry]:
        chosen, self.logits = chosen_output(self.graph, asked.output)
        needed = self._needed(chosen)
        self._refuse_unknown([node for _, node in needed])
        stored = {tensor.name: tensor for tensor in self.graph.initializer if tensor.name not in asked.fixed}
        used = {name for _, node in needed for name in node.input} | {chosen}
        entry = free_input(self.graph, used, stored, asked)
        self._refuse_several(used - asked.fixed.keys())
        source = self._declared(entry)
        weights = [self.tensors.copy(stored[name], self._new("tensor", name)) for name in stored if name in used]
        weights += [
            fixed_tensor(self.graph, name, given, self._new("tensor", name), self.tensors.budget)
            for name, given in asked.fixed.items()
        ]
        nodes = [self._node(index, node) for index, node in needed]
        if chosen not in self._names:
            raise ValueError(f"nothing makes its output {shown(chosen)!r}")
        result = helper.make_tensor_value_info(self._names[chosen], stated_type(self.graph, chosen, entry), None)
        result.type.tensor_type.shape.SetInParent()  # a file states some shape
        graph = helper.make_graph(nodes, "graph", [source], [result], weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=max(4, self.file.ir_version)), entry

    def _new(self, kind: str, name: str, label: Label | None = None) -> str:
        """A counted name for one of the file."""
        if kind != "node" and name in self._names:
            raise ValueError(f"the value {shown(name)!r} is made twice")
        counted = f"file_{kind}_{len(self.labels)}"
        self.labels[counted] = label or Label(shown(name), "")
        if kind != "node":
            self._names[name] = counted
        return counted

    def _needed(self, output: str) -> list[tuple[int, onnx.NodeProto]]:
        """The nodes that the output depends on, each after those that it reads, with its place in the file."""
        nodes = self.graph.node
        makers: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            for name in filter(None, node.output):
                makers.setdefault(name, []).append(index)
        wanted, waiting = set(), list(makers.get(output, []))
        while waiting:
            index = waiting.pop()
            if index not in wanted:
                wanted.add(index)
                waiting.extend(maker for name in nodes[index].input for maker in makers.get(name, []))
        return [(index, nodes[index]) for index in self._in_order(sorted(wanted), makers)]

    def _in_order(self, indices: list[int], makers: dict[str, list[int]]) -> Iterator[int]:
        """The nodes as the file has them, but none before what it reads."""
        done: set[int] = set()
        waiting_for: set[int] = set()
        for first in indices:
            waiting = [first]
            while waiting:
                index = waiting[-1]
                if index in done:
                    waiting.pop()
                    continue
                before = (maker for name in self.graph.node[index].input for maker in makers.get(name, []))
                missing = [maker for maker in before if maker not in done]
                if not missing:
                    done.add(waiting.pop())
                    yield index
                    continue
                if index in waiting_for or not waiting_for.isdisjoint(missing):
                    where = describe_nodes([self.graph.node[index]])
                    raise ValueError(f"its nodes read each other in a circle at {where}")
                waiting_for.add(index)
                waiting.extend(reversed(missing))

    def _refuse_several(self, used: set[str]) -> None:
        """Of tensors of one name, dense or sparse, readers of ONNX take different ones."""
        dense = [tensor.name for tensor in self.graph.initializer]
        counts = Counter(dense + [tensor.values.name for tensor in self.graph.sparse_initializer])
        for name in sorted(used & counts.keys()):
            if counts[name] > 1:
                raise ValueError(f"the tensor {shown(name)!r} is there {counts[name]} times; give each its own name")

    def _refuse_unknown(self, nodes: list[onnx.NodeProto]) -> None:
        branching = [n for n in nodes if any(a.HasField("g") or a.graphs for a in n.attribute)]
        if branching:
            raise UnsupportedOperation(f"it has control flow, which cannot be read: {describe_nodes(branching)}.")
        recurrent = [n for n in nodes if n.op_type in ("GRU", "LSTM", "RNN")]
        if recurrent:
            raise UnsupportedOperation(
                f"it has recurrent layers, which are curved or not read: {describe_nodes(recurrent)}. Read are those "
                "of torch modules and .pt2 files with nonlinearity='relu'."
            )
        functions = {(function.domain, function.name) for function in self.file.functions}
        unknown = [n for n in nodes if not self._is_known(n) or (n.domain, n.op_type) in functions]
        if unknown:
            raise UnsupportedOperation(f"it has operators that onnx2fx cannot convert: {describe_nodes(unknown[:20])}.")

    def _is_known(self, node: onnx.NodeProto) -> bool:
        import onnx2fx

        if node.domain not in _STANDARD or not onnx.defs.has(node.op_type, self.opset):
            return False
        if len(node.output) > _MOST_OUTPUTS or is_misread(node):
            return False
        return bool(onnx2fx.is_supported(node.op_type, "", self.opset))

    def _declared(self, entry: Entry) -> onnx.ValueInfoProto:
        kind = entry.value.type.tensor_type.elem_type
        shape = ["N" if entry.free else entry.sizes[0], *entry.sizes[1:]]
        return helper.make_tensor_value_info(self._new("value", entry.value.name), kind, shape)

    def _node(self, index: int, node: onnx.NodeProto) -> onnx.NodeProto:
        label = Label(shown(node.name) or f"{node.op_type}_{index}", node.op_type)
        name = self._new("node", node.name, label)
        missing = [value for value in node.input if value and value not in self._names]
        if missing:
            raise ValueError(
                f"{name} reads {shown(missing[0])!r}, which nothing before it makes".replace(name, label.name)
            )
        inputs = [self._names[value] if value else "" for value in node.input]
        outputs = [self._new("value", value) if value else "" for value in node.output]
        fresh = helper.make_node(node.op_type, inputs, outputs, name=name)
        known = onnx.defs.get_schema(node.op_type, self.opset).attributes
        fresh.attribute.extend(self._attribute(attribute, known, label) for attribute in node.attribute)
        if len({attribute.name for attribute in fresh.attribute}) != len(fresh.attribute):
            raise ValueError(f"{label.kind} (node {label.name!r}) has an attribute twice")
        return fresh

    def _attribute(
        self, attribute: AttributeProto, known: dict[str, onnx.defs.OpSchema.Attribute], label: Label
    ) -> AttributeProto:
        where = f"the attribute {shown(attribute.name)!r} of {label.kind} (node {label.name!r})"
        if attribute.name not in known or attribute.ref_attr_name:
            raise ValueError(f"{where} is none that the operator has")
        kind = int(attribute.type)
        if AttributeProto.AttributeType.Name(attribute.type) != str(known[attribute.name].type).rpartition(".")[2]:
            raise ValueError(f"{where} is not of the type that the operator takes")
        fresh = AttributeProto(name=attribute.name, type=attribute.type)
        if kind == AttributeProto.TENSOR:
            fresh.t.CopyFrom(self.tensors.copy(attribute.t, ""))
        elif kind == AttributeProto.STRING and _is_plain(label.kind, attribute):
            fresh.s = attribute.s
        elif kind in (AttributeProto.FLOAT, AttributeProto.INT):
            setattr(fresh, _PLAIN[kind], getattr(attribute, _PLAIN[kind]))
        elif kind in _PLAIN and len(getattr(attribute, _PLAIN[kind])) <= _MOST_NUMBERS:
            getattr(fresh, _PLAIN[kind]).extend(getattr(attribute, _PLAIN[kind]))
        else:
            raise UnsupportedOperation(f"{where} is neither a few numbers, a tensor nor a word, and cannot be read.")
        return fresh


def _is_plain(operator: str, attribute: AttributeProto) -> bool:
    """Whether a text is a word, or what Einsum sums over."""
    allowed = _EQUATION if operator == "Einsum" and attribute.name == "equation" else _WORD
    return allowed.fullmatch(attribute.s.decode("ascii", "replace")) is not None
