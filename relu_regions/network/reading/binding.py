"""Binding weights to a traced program: its graph becomes affine steps and gates."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from relu_regions.network.reading.batches import BatchSizes, for_one
from relu_regions.network.reading.last_operations import LOGITS, advice, logits_of
from relu_regions.network.reading.operations import (
    OPERATIONS,
    REFUSED,
    Batch,
    Call,
    FromBatch,
    UnsupportedOperation,
    Value,
)
from relu_regions.network.reading.operations.conditions import Condition, compared, selected
from relu_regions.network.reading.operations.constants import (
    ELEMENTWISE,
    SHAPE_ONLY,
    as_float64,
    computes,
    fold,
    operation_name,
    rounds,
)
from relu_regions.network.reading.operations.maximum import READS_ABSENT
from relu_regions.network.reading.operations.rows import in_rows
from relu_regions.network.reading.operations.values import STANDARD, values_in
from relu_regions.network.reading.traced_graph import TracedGraph
from relu_regions.network.steps import AffineStep, Origin, Step, evaluate

__all__ = ["Bound", "bind"]


@dataclass(frozen=True)
class Bound:
    """The steps that a program's output depends on.

    Attributes:
        steps: in order.
        input, output: what they read and make.
        dtype: of the input.
        last: what the program does after them, where its logits were asked for.
    """

    steps: tuple[Step, ...]
    input: Value
    output: Value
    dtype: torch.dtype
    last: Callable[[Tensor], Tensor] | None


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
        self.computed: set[str] = set()  # those that it computes
        self.steps: list[Step] = []
        self.input = graph.input
        self.sizes = BatchSizes(self.input.meta["val"].shape[0])

    def bound(self, output: int | str | None) -> Bound:
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.environment[node.name] = self._placeholder(node)
            elif node.op == "call_function" and node.users:
                self.environment[node.name] = self._attempt(node)
            elif node.op == "output":
                chosen, last = self._output(node, output)
        return Bound(
            tuple(_needed(self.steps, chosen.name)),
            self.environment[self.input.name],
            chosen,
            self.input.meta["val"].dtype,
            last,
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
        meta, operation = node.meta.get("val"), operation_name(node.target)
        if operation == "sym_size":
            return self.sizes.number(meta)
        if not isinstance(meta, Tensor | tuple | list) and _holds([arguments, keywords], (Batch, FromBatch)):
            return self.sizes.number(meta)
        place = SHAPE_ONLY.get(operation)
        if place is not None and place < len(arguments) and isinstance(arguments[place], Value):
            arguments[place] = self._stand_in(arguments[place], torch.float64)
        if not _holds([arguments, list(keywords.values())], (Value, Call, Condition)):
            return self._constant(node, arguments, keywords)
        if node.target is operator.getitem:
            return self._item(node, arguments)
        call = replace(self._describe(node, arguments, keywords), per_member=self._per_member(node))
        _check_batch_size(call)
        if _holds(arguments, Condition):
            return self._selected(call, meta)
        if (condition := compared(call)) is not None:
            return condition
        if isinstance(meta, (tuple, list)):
            return call  # several outputs: each getitem makes its own step
        return self._emit(call, meta)

    def _resolve(self, argument: Any, own: bool = False) -> Any:
        if isinstance(argument, torch.fx.Node):
            found = self.environment[argument.name]
            if isinstance(found, UnsupportedOperation):
                raise found
            if own and isinstance(found, Value):
                return self._stand_in(found, argument.meta["val"].dtype)
            return self.own.get(argument.name, found) if own else found
        if isinstance(argument, (list, tuple)):
            return [self._resolve(item, own) for item in argument]
        return argument

    def _stand_in(self, value: Value, dtype: torch.dtype) -> Tensor:
        """A tensor of a value's shape for a batch of one."""
        return torch.zeros(value.traced, dtype=dtype, device=self.input.meta["val"].device)

    # ---------------------------------------------------------------- constants

    def _constant(self, node: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        batched = [n for n in node.all_input_nodes if self._is_batched(n)]
        if computes(node) or self._reads_computed(node):
            self.computed.add(node.name)
        if not batched or operation_name(node.target) in _ROW_BY_ROW:
            return self._fold(node, arguments, keywords)
        return self._fold_rows(node, batched)

    def _fold(self, node: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
        """A node that does not depend on the input is computed once, in float64 and for a batch of one."""
        call = self._describe(node, arguments, keywords)
        _check_batch_size(call)
        if call.origin.operation in _SIZED and _holds([arguments, list(keywords.values())], (Batch, FromBatch)):
            raise call.refuse(
                "it takes as many rows of a constant as there are points, so that an answer depends on a point's place "
                "in the batch"
            )
        keywords = {name: for_one(argument) for name, argument in keywords.items()}
        try:
            result = fold(node.target, for_one(arguments), keywords)
        except UnsupportedOperation as error:
            raise call.refuse(str(error)) from None
        options = {name: for_one(self._resolve(argument, own=True)) for name, argument in node.kwargs.items()}
        given = for_one(self._resolve(node.args, own=True))
        self.own[node.name] = own = node.target(*given, **options)
        # What jumps, jumps where the model's own numbers say.
        return as_float64(own) if isinstance(own, Tensor) and rounds(node.target, given, own) else result

    def _reads_computed(self, node: Any) -> bool:
        return any(n.name in self.computed for n in node.all_input_nodes)

    def _is_batched(self, node: Any) -> bool:
        """Whether a constant has a row for each member of the batch."""
        meta = node.meta.get("val")
        constant = isinstance(self.environment[node.name], Tensor)
        return constant and isinstance(meta, Tensor) and bool(self.sizes.axes(meta))

    def _per_member(self, node: Any) -> tuple[tuple[Tensor, int], ...]:
        """The constants among a node's inputs with a row for each member, and on which axis."""
        found = []
        for n in filter(self._is_batched, node.all_input_nodes):
            meta, constant = n.meta["val"], self.environment[n.name]
            axes = self.sizes.axes(meta)
            if len(axes) == 1 and self.sizes.factor(meta.shape[axes[0]]) == 1:
                found.append((constant, axes[0]))
            elif any((constant != constant.narrow(axis, 0, 1)).any() for axis in axes):
                refusal = f"its constant of shape {tuple(meta.shape)} treats the members of a batch differently"
                raise self._describe(node, [], {}).refuse(refusal)
        return tuple(found)

    def _fold_rows(self, node: Any, batched: list[Any]) -> Any:
        """What a node makes of constants with a row for each member of the batch, for one member.

        It is read as if they depended on the input, so that nothing passes that mixes the members.
        """
        stacks: dict[str, Tensor] = {}
        reader = _Binder(self.graph, self.tensors)
        reader.environment, reader.own, reader.computed = dict(self.environment), dict(self.own), self.computed
        for n in batched:
            call = self._describe(n, [], {})
            self.sizes.place(call, n.meta["val"])
            constant = self.environment[n.name]
            stacks[n.name] = constant.to(torch.float64) if call.layout == STANDARD else constant.to(torch.float64)[None]
            reader.environment[n.name] = Value(n.name, call.shape, call.layout)
        made = reader._call(node)
        if isinstance(made, Call):
            made = [reader._part(made, f"{node.name}.{n}", n, part) for n, part in enumerate(node.meta["val"])]
        for step in reader.steps:
            stacks[step.output] = evaluate(step, [stacks[name] for name in step.inputs])
        parts = made if isinstance(made, list) else [made]
        constants = [stacks[part.name] if part.layout == STANDARD else stacks[part.name][0] for part in parts]
        return constants if isinstance(made, list) else constants[0]

    # ---------------------------------------------------------------- values

    def _item(self, node: Any, arguments: list[Any]) -> Any:
        call, index = arguments[:2]
        if not isinstance(call, Call):
            raise UnsupportedOperation(f"Cannot read item {index} of {call!r}.")
        return self._part(call, node.name, index, node.meta["val"])

    def _part(self, call: Call, name: str, index: int, meta: Tensor) -> Any:
        """One of several results."""
        if call.origin.operation == "broadcast_tensors":
            sizes = [self.sizes.number(size) for size in meta.shape]
            one = replace(call, name=name, target=torch.ops.aten.expand.default, args=(call.args[0][index], sizes))
            return self._emit(one, meta) if isinstance(one.args[0], Value) else one.args[0]
        if call.origin.operation in ("split", "split_with_sizes", "chunk", "unbind", "tensor_split"):
            several = call.target
            part = replace(call, name=name, target=lambda *args, **kwargs: several(*args, **kwargs)[index])
            return self._emit(part, meta)
        if index != 0:
            raise call.refuse("its second output (positions, not numbers) is not continuous in the input")
        return self._emit(replace(call, name=name), meta)

    def _describe(self, node: Any, arguments: list[Any], keywords: dict[str, Any]) -> Call:
        name = operation_name(node.target)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        module, kind = stack[-1] if stack else ("", "")
        kind = getattr(kind, "__name__", str(kind)).rpartition(".")[2]
        dtype = getattr(node.meta.get("val"), "dtype", None)
        origin = Origin(str(module), name, kind, dtype, self._reads_computed(node))
        return Call(node.name, origin, node.target, tuple(arguments), keywords, ())

    def _emit(self, call: Call, meta: Tensor) -> Value:
        operation = call.origin.operation
        handler = OPERATIONS.get(operation) or REFUSED.get(operation)
        if handler is None:
            raise call.refuse("the operation is not known to be affine or piecewise linear")
        values = values_in([*call.args, *call.kwargs.values()])
        if handler not in REFUSED.values():
            _check_dtype(call, meta)
            self.sizes.place(call, meta)
            if operation not in READS_ABSENT and any(value.absent is not None for value in values):
                raise call.refuse("it reads minus infinity, which only a maximum may read")
            values = self._align(call)
        in_standard = call.layout == STANDARD and all(value.layout == STANDARD for value in values)
        self.steps.extend(handler(call) if in_standard else in_rows(handler, call))
        return Value(call.name, call.shape, call.layout, call.absent)

    def _selected(self, call: Call, meta: Any) -> Any:
        """What an operation makes of a comparison."""
        condition = next(leaf for leaf in tree_leaves([call.args]) if isinstance(leaf, Condition))
        if not isinstance(meta, Tensor) or tuple(map(self.sizes.one, meta.shape)) != condition.value.traced:
            raise condition.refuse()
        call.shape, call.layout = condition.value.shape, condition.value.layout
        made = selected(call, {step.output: step for step in self.steps})
        if isinstance(made, Condition):
            return made
        self.steps.extend(made)
        return Value(call.name, call.shape, call.layout)

    def _align(self, call: Call) -> list[Value]:
        """Give elementwise operations values of the result's layout: torch adds axes in front of shorter shapes."""
        values = values_in([*call.args, *call.kwargs.values()])
        if call.layout == STANDARD or call.origin.operation not in ELEMENTWISE:
            return values
        rank, found = len(call.shape), {value: value for value in values}
        for value in values:
            more = rank - len(value.traced)
            if more and value.layout._replace(axis=value.layout.axis + more) == call.layout:
                found[value] = Value(f"{call.name}.{value.name}", (*[1] * more, *value.traced), call.layout)
                self.steps.append(_with_axes_in_front(call, value, found[value]))
        call.args = tuple(
            found.get(argument, argument) if isinstance(argument, Value) else argument for argument in call.args
        )
        return list(found.values())

    def _output(self, node: Any, output: int | str | None) -> tuple[Value, Callable[[Tensor], Tensor] | None]:
        outputs = node.args[0][len(node.args[0]) - len(self.graph.signature.user_outputs) :]
        before, last = outputs[self.graph.output_position(output)], None
        if output == LOGITS and LOGITS not in self.graph.names:
            before, last = logits_of(before)
        try:
            chosen = self._resolve(before)
        except UnsupportedOperation as error:
            raise UnsupportedOperation(f"{error}{advice(before)}") from None
        if isinstance(chosen, Condition):
            raise chosen.refuse()
        if not isinstance(chosen, Value):
            raise UnsupportedOperation("The model's output does not depend on its input.")
        if chosen.absent is not None:
            raise UnsupportedOperation("The model's output holds minus infinity; return numbers that are finite.")
        if chosen.layout != STANDARD:
            raise UnsupportedOperation(
                f"The model's output has its batch on axis {chosen.layout.axis} of the shape {chosen.shape}, or folds "
                "other axes into it; return it with the batch in front."
            )
        return (chosen if chosen.shape else self._as_vector(chosen)), last

    def _as_vector(self, single: Value) -> Value:
        """One number for each point as a vector of one: a single logit."""
        vector = Value(f"{single.name}.vector", (1,))
        origin = next((step.origin for step in self.steps if step.output == single.name), Origin("", "view"))
        self.steps.append(AffineStep(vector.name, (single.name,), (1,), origin, lambda points: points.reshape(-1, 1)))
        return vector


def _with_axes_in_front(call: Call, value: Value, wanted: Value) -> AffineStep:
    shape = wanted.shape
    return AffineStep(
        wanted.name, (value.name,), shape, call.origin, lambda points: points.reshape(len(points), *shape)
    )


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


# What takes the size of the batch as the size of a dimension: a number of its own, or in a list of sizes.
_SIZED = {"slice", "narrow"}
_LISTS_OF_SIZES = {"size", "sizes", "shape", "repeats", "dims", "split_sizes"}
_RESHAPES = {"view", "reshape", "_unsafe_view", "unflatten", "expand", "broadcast_to"}
# What acts on each number of a constant alone, and so on each row of one that has a row for each member of the batch.
_ROW_BY_ROW = ELEMENTWISE | {
    "expand", "expand_as", "clone", "contiguous", "to", "_to_copy", "type_as", "detach", "alias", "lift_fresh_copy",
    "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "fill", "zero",
    "affine_grid_generator",
}  # fmt: skip


def _check_batch_size(call: Call) -> None:
    """Refuse arithmetic with the size of the batch: a point's answer would depend on how many others there are."""
    operation = call.origin.operation
    plain = [*call.args, *call.kwargs.values()]
    alone = any(isinstance(argument, (Batch, FromBatch)) for argument in plain) and operation not in _SIZED | _RESHAPES
    unknown = [leaf for leaf in tree_leaves(plain) if isinstance(leaf, FromBatch) and leaf.factor is None]
    listed = [given for given in plain if isinstance(given, list) and _holds(given, (Batch, FromBatch))]
    other = listed and any(
        name not in _LISTS_OF_SIZES for name, _, given in call.named() if any(given is one for one in listed)
    )
    if alone or other or (unknown and operation not in _RESHAPES):
        raise call.refuse("it computes with the size of the batch, so that a point's answer depends on the others")


def _holds(argument: Any, kinds: Any) -> bool:
    return any(isinstance(leaf, kinds) for leaf in tree_leaves(argument))
