"""Binding weights to a traced program: its graph becomes affine steps and gates."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature
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
from relu_regions.network.steps import Origin, Step, evaluate

__all__ = ["Bound", "Graph", "bind", "output_position"]


@dataclass(frozen=True)
class Bound:
    """The steps that a program's output depends on, its input and output, and the dtype of its input."""

    steps: tuple[Step, ...]
    input: Value
    output: Value
    dtype: torch.dtype


@dataclass(frozen=True)
class Graph:
    """A traced model without its weights.

    Attributes:
        module: the graph of ATen operations, its parameters, buffers and constants among its inputs.
        signature: which of its inputs are what.
        keys: of the model's outputs, where it returns a dict.
        constants: tensors that are neither parameters nor buffers, by name.
    """

    module: torch.fx.GraphModule
    signature: ExportGraphSignature
    keys: tuple[str, ...]
    constants: Mapping[str, Tensor]

    @classmethod
    def of(cls, program: ExportedProgram) -> Graph:
        """The graph of a program, without operations in place, which a reader would have to follow through every alias.

        Raises:
            ValueError: the batch size is fixed.
            UnsupportedOperation: there are several inputs, the input holds no floats, or a buffer is written to.
        """
        _check_input(cls.as_traced(program).input)
        if any(map(_mutates, program.graph.nodes)):
            program = program.run_decompositions({})
        for name in program.graph_signature.buffers_to_mutate.values():
            raise UnsupportedOperation(
                f"The forward pass writes to the buffer {name!r}: an answer could depend on the calls before it. "
                "Remove that line, or make it depend on self.training."
            )
        return cls.as_traced(program)

    @classmethod
    def as_traced(cls, program: ExportedProgram) -> Graph:
        """The graph of a program as it is."""
        spec = program.call_spec.out_spec
        keys = tuple(str(key) for key in (spec.context or [])) if spec is not None and spec.type is dict else ()
        constants = {name: value for name, value in program.constants.items() if isinstance(value, Tensor)}
        return cls(program.graph_module, program.graph_signature, keys, constants)

    def with_own_constants(self) -> Graph:
        """The same graph, whose constants stay as they are when the model's own are written to."""
        return replace(self, constants={name: constant.detach().clone() for name, constant in self.constants.items()})

    def run(self, x: Tensor, tensors: Mapping[str, Tensor]) -> tuple[Any, ...]:
        """The model's outputs for rows ``(N, *input_shape)``, in the dtype of its tensors, given by name.

        Nodes that nothing reads, such as checks of shapes, are left out.
        """
        placeholders = [node for node in self.nodes if node.op == "placeholder"]
        given = [x if node is self.input else self.tensor(node, tensors) for node in placeholders]
        outputs = tuple(_Run(self.module).run(*given))
        return outputs[len(outputs) - len(self.signature.user_outputs) :]

    @property
    def nodes(self) -> list[torch.fx.Node]:
        """The nodes, each after those it reads from."""
        return list(self.module.graph.nodes)

    @cached_property
    def input(self) -> torch.fx.Node:
        """The node that stands for x.

        Raises:
            UnsupportedOperation: the model takes several inputs.
        """
        users = [n for n in self.nodes if n.op == "placeholder" and n.name in self.signature.user_inputs]
        if len(users) != 1:
            raise UnsupportedOperation(f"The model takes {len(users)} inputs; relu_regions walks models of one input.")
        return users[0]

    @cached_property
    def narrowest(self) -> torch.dtype:
        """The float dtype with the fewest bits that anything is computed in."""
        metas = [node.meta.get("val") for node in self.nodes if node.op == "call_function"]
        made: set[torch.dtype] = {
            meta.dtype for meta in metas if isinstance(meta, Tensor) and meta.dtype.is_floating_point
        }
        own: torch.dtype = self.input.meta["val"].dtype
        return max({own, *made}, key=lambda dtype: torch.finfo(dtype).eps)

    def tensor(self, placeholder: torch.fx.Node, tensors: Mapping[str, Tensor]) -> Tensor:
        """The parameter, buffer or constant that an input of the graph stands for.

        Args:
            placeholder: one of the graph's inputs.
            tensors: parameters and buffers by name.
        """
        signature = self.signature
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        if named.get(placeholder.name) in tensors:
            return tensors[named[placeholder.name]]
        constants = {**named, **signature.inputs_to_lifted_tensor_constants}
        if constants.get(placeholder.name) in self.constants:
            return self.constants[constants[placeholder.name]]
        raise UnsupportedOperation(f"The program's input {placeholder.name!r} is no tensor that the model holds.")


class _Run(torch.fx.Interpreter):
    def run_node(self, n: torch.fx.Node) -> Any:
        needless = n.op == "call_function" and not n.users and not _mutates(n)
        return None if needless else super().run_node(n)


def _mutates(node: torch.fx.Node) -> bool:
    """Whether a node changes what it is given in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _check_input(node: torch.fx.Node) -> None:
    meta = node.meta["val"]
    if not isinstance(meta, Tensor) or not meta.dtype.is_floating_point:
        raise UnsupportedOperation("The model's input is no floating-point tensor.")
    if meta.ndim < 2 or not isinstance(meta.shape[0], torch.SymInt):
        raise ValueError(
            "The exported program has a fixed batch size; export it with a dynamic first dimension: "
            "torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('N')},))."
        )


def bind(
    graph: Graph,
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

    def __init__(self, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
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
        chosen = outputs[output_position(self.graph, output)]
        if not isinstance(chosen, Value):
            raise UnsupportedOperation("The model's output does not depend on its input.")
        return chosen


def output_position(graph: Graph, output: int | str | None) -> int:
    """Which of the model's outputs is meant.

    Raises:
        ValueError: there are several and none is named, or the name is not among them.
    """
    count, keys = len(graph.signature.user_outputs), list(graph.keys)
    if output is None and count == 1:
        return 0
    if isinstance(output, str) and output in keys:
        return keys.index(output)
    if isinstance(output, int) and -count <= output < count:
        return output
    names = f"keys {keys}" if keys else f"positions 0 to {count - 1}"
    raise ValueError(f"The model returns {count} outputs ({names}), and output={output!r} does not name one of them.")


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
    """Refuse arithmetic with the size of the batch: the answer for a point would depend on how many others there are."""
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
