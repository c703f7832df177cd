"""Binding weights to a traced program: its graph becomes affine steps and gates."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from relu_regions.network.reading.operations import (
    BATCH,
    FROM_BATCH,
    OPERATIONS,
    REFUSED,
    Batch,
    Call,
    FromBatch,
    UnsupportedOperation,
    Value,
)
from relu_regions.network.reading.operations.constants import ELEMENTWISE, as_float64, fold, operation_name, rounds
from relu_regions.network.reading.traced_graph import TracedGraph
from relu_regions.network.steps import Origin, Step, evaluate

__all__ = ["Bound", "bind"]


@dataclass(frozen=True)
class Bound:
    """The steps that a program's output depends on, its input and output, and the dtype of its input."""

    steps: tuple[Step, ...]
    input: Value
    output: Value
    dtype: torch.dtype


def bind(
    graph: TracedGraph,
    tensors: Mapping[str, Tensor],
    output: int | str | None,
) -> Bound:
    """The steps of an exported program with the weights given, in float64.

    Args:
        graph: of the program.
        tensors: its parameters and buffers by name.
        output: which output to read, by position or key, where there are several.

    Raises:
        ValueError: weights are not finite, or output names none of the program's outputs.
        UnsupportedOperation: the program is not continuous and piecewise linear, or cannot be read.
    """
    with torch.no_grad():
        return _Binder(graph, tensors).bound(output)


class _Binder:
    """Goes through the graph once, folding constants and turning every other node into steps."""

    def __init__(self, graph: TracedGraph, tensors: Mapping[str, Tensor]) -> None:
        self.graph = graph
        self.tensors = tensors
        self.environment: dict[str, Any] = {}
        self.own: dict[str, Any] = {}  # constants as the model has them, in its own dtypes
        self.steps: list[Step] = []
        self.input = graph.input
        self.batch = str(self.input.meta["val"].shape[0])

    def bound(self, output: int | str | None) -> Bound:
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.environment[node.name] = self._placeholder(node)
            elif node.op == "call_function" and node.users:
                self.environment[node.name] = self._attempt(node)
            elif node.op == "output":
                chosen = self._output(node, output)
        return Bound(
            tuple(_needed(self.steps, chosen.name)),
            self.environment[self.input.name],
            chosen,
            self.input.meta["val"].dtype,
        )

    def _placeholder(self, node: Any) -> Any:
        if node is self.input:
            return Value(node.name, tuple(map(int, node.meta["val"].shape[1:])))
        self.own[node.name] = self.graph.tensor(node, self.tensors).detach()
        return as_float64(self.own[node.name])

    def _attempt(self, node: Any) -> Any:
        """What a node makes, or why it cannot be read: that matters only where the output depends on it."""
        try:
            return self._call(node)
        except UnsupportedOperation as error:
            return error

    def _call(self, node: Any) -> Any:
        arguments = self._resolve(node.args)
        keywords = {keyword: self._resolve(argument) for keyword, argument in node.kwargs.items()}
        operands = [arguments, list(keywords.values())]
        if operation_name(node.target) == "sym_size":
            return self._size(node, arguments)
        if not isinstance(node.meta.get("val"), Tensor | tuple | list) and _holds(operands, (Batch, FromBatch)):
            return self._number(node)
        if not _holds(operands, (Value, Call)):
            batched = [n for n in node.all_input_nodes if self._is_batched(n)]
            if not batched or operation_name(node.target) in _ROW_BY_ROW:
                return self._fold(node, arguments, keywords)
            return self._fold_rows(node, batched)
        if node.target is operator.getitem:
            return self._item(node, arguments)
        call = self._describe(node, arguments, keywords)
        _check_batch_size(call)
        if isinstance(node.meta.get("val"), (tuple, list)):
            return call  # several outputs: each getitem makes its own step
        return self._emit(call, node.meta["val"])

    def _resolve(self, argument: Any, own: bool = False) -> Any:
        if isinstance(argument, torch.fx.Node):
            found = self.environment[argument.name]
            if isinstance(found, UnsupportedOperation):
                raise found
            return self.own.get(argument.name, found) if own else found
        if isinstance(argument, (list, tuple)):
            return [self._resolve(item, own) for item in argument]
        return argument

    def _fold(self, node: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
        """A node that does not depend on the input is computed once, in float64 and for a batch of one."""
        call = self._describe(node, arguments, keywords)
        _check_batch_size(call)
        keywords = {name: _for_one(argument) for name, argument in keywords.items()}
        try:
            result = fold(node.target, _for_one(arguments), keywords)
        except UnsupportedOperation as error:
            raise call.refuse(str(error)) from None
        options = {name: _for_one(self._resolve(argument, own=True)) for name, argument in node.kwargs.items()}
        given = _for_one(self._resolve(node.args, own=True))
        self.own[node.name] = own = node.target(*given, **options)
        # What jumps, jumps where the model's own numbers say.
        return as_float64(own) if isinstance(own, Tensor) and rounds(node.target, given, own) else result

    def _is_batched(self, node: Any) -> bool:
        """Whether a constant has a row for each member of the batch."""
        meta = node.meta.get("val")
        constant = isinstance(self.environment[node.name], Tensor)
        return constant and isinstance(meta, Tensor) and any(isinstance(size, torch.SymInt) for size in meta.shape)

    def _fold_rows(self, node: Any, batched: list[Any]) -> Tensor:
        """What a node makes of constants with a row for each member of the batch, for one member.

        It is read as if they depended on the input, so that nothing passes that mixes the members.
        """
        rows: dict[str, Tensor] = {n.name: self.environment[n.name] for n in batched}
        reader = _Binder(self.graph, self.tensors)
        reader.environment, reader.own = dict(self.environment), dict(self.own)
        for n in batched:
            shape = _point_shape(self._describe(n, [], {}), n.meta["val"], self.batch)
            reader.environment[n.name] = Value(n.name, shape)
        made = reader._call(node)
        if not isinstance(made, Value):
            raise self._describe(node, [], {}).refuse("it takes a constant of the size of the batch apart")
        for step in reader.steps:
            rows[step.output] = evaluate(step, [rows[name].expand(1, *rows[name].shape[1:]) for name in step.inputs])
        return rows[made.name]

    def _size(self, node: Any, arguments: list[Any]) -> Any:
        value, dimension = arguments[:2]
        if not isinstance(value, Value):
            return self._number(node)
        return BATCH if dimension == 0 else value.shape[dimension - 1 if dimension > 0 else dimension]

    def _number(self, node: Any) -> Any:
        """A number that is computed from sizes: plain, the size of the batch, or something that follows from it."""
        meta = node.meta.get("val")
        if isinstance(meta, (int, float, bool)):
            return meta
        return BATCH if str(meta) == self.batch else FROM_BATCH

    def _item(self, node: Any, arguments: list[Any]) -> Any:
        call, index = arguments[:2]
        if not isinstance(call, Call):
            raise UnsupportedOperation(f"Cannot read item {index} of {call!r}.")
        operation = call.origin.operation
        if operation in ("split", "split_with_sizes", "chunk", "unbind", "tensor_split"):
            several = call.target
            part = replace(call, name=node.name, target=lambda *args, **kwargs: several(*args, **kwargs)[index])
            return self._emit(part, node.meta["val"])
        if index != 0:
            raise call.refuse("its second output (positions, not numbers) is not continuous in the input")
        return self._emit(replace(call, name=node.name), node.meta["val"])

    def _describe(self, node: Any, arguments: list[Any], keywords: dict[str, Any]) -> Call:
        name = operation_name(node.target)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        module, kind = stack[-1] if stack else ("", "")
        kind = getattr(kind, "__name__", str(kind)).rpartition(".")[2]
        return Call(node.name, Origin(str(module), name, kind), node.target, tuple(arguments), keywords, ())

    def _emit(self, call: Call, meta: Tensor) -> Value:
        operation = call.origin.operation
        handler = OPERATIONS.get(operation) or REFUSED.get(operation)
        if handler is None:
            raise call.refuse("the operation is not known to be affine or piecewise linear")
        if handler not in REFUSED.values():
            _check_dtype(call, meta)
            call.shape = _point_shape(call, meta, self.batch)
        self.steps.extend(handler(call))
        return Value(call.name, call.shape)

    def _output(self, node: Any, output: int | str | None) -> Value:
        outputs = self._resolve(node.args[0])
        outputs = outputs[len(outputs) - len(self.graph.signature.user_outputs) :]
        chosen = outputs[self.graph.output_position(output)]
        if not isinstance(chosen, Value):
            raise UnsupportedOperation("The model's output does not depend on its input.")
        return chosen


def _needed(steps: list[Step], output: str) -> Iterator[Step]:
    """The steps that the output depends on, in order."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.output in wanted:
            wanted.update(step.inputs)
            kept.append(step)
    return reversed(kept)


_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def _check_dtype(call: Call, meta: Tensor) -> None:
    """Refuse what rounds: a cast to integers or truth values, or to floats so narrow that they are a quantisation."""
    if meta.dtype not in _FLOATS:
        raise call.refuse(f"it makes numbers of type {meta.dtype}, which rounds; that is not continuous in the input")


def _point_shape(call: Call, meta: Tensor, batch: str) -> tuple[int, ...]:
    first, *rest = meta.shape if meta.ndim else [None]
    if not isinstance(first, torch.SymInt) or not all(isinstance(size, int) for size in rest):
        raise call.refuse(f"its output of shape {tuple(meta.shape)} does not keep the batch dimension in front")
    if str(first) != batch:
        raise call.refuse(f"it folds other dimensions into the batch ({first} rows)")
    return tuple(rest)


# What takes the size of the batch as the size of a dimension: a number of its own, or in a list of sizes.
_SIZED = {"slice", "narrow"}
_RESHAPES = {"view", "reshape", "_unsafe_view", "unflatten", "expand", "broadcast_to"}
# What acts on each number of a constant alone, and so on each row of one that has a row for each member of the batch.
_ROW_BY_ROW = ELEMENTWISE | {
    "expand",
    "clone",
    "contiguous",
    "to",
    "_to_copy",
    "type_as",
    "detach",
    "alias",
    "lift_fresh_copy",
}


def _check_batch_size(call: Call) -> None:
    """Refuse arithmetic with the size of the batch: a point's answer would depend on how many others there are."""
    operation = call.origin.operation
    plain = [*call.args, *call.kwargs.values()]
    alone = any(isinstance(argument, (Batch, FromBatch)) for argument in plain) and operation not in _SIZED | _RESHAPES
    derived = _holds(plain, FromBatch) and operation not in _RESHAPES
    if alone or derived:
        raise call.refuse("it computes with the size of the batch, so that a point's answer depends on the others")


def _holds(argument: Any, kinds: Any) -> bool:
    return any(isinstance(leaf, kinds) for leaf in tree_leaves(argument))


def _for_one(argument: Any) -> Any:
    """Sizes for a batch of one."""
    if isinstance(argument, (list, tuple)):
        return [_for_one(item) for item in argument]
    return 1 if argument is BATCH else argument
