"""Binding weights to a traced program: its graph becomes affine steps and gates."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from relu_regions.operations import BATCH, OPERATIONS, REFUSED, Call, UnsupportedOperation, Value
from relu_regions.steps import Origin, Step

__all__ = ["Bound", "bind"]


@dataclass(frozen=True)
class Bound:
    """The steps that a program's output depends on, its input and output, and the dtype of its input."""

    steps: tuple[Step, ...]
    input: Value
    output: Value
    dtype: torch.dtype


def bind(
    program: ExportedProgram, parameters: dict[str, Any], buffers: dict[str, Any], output: int | str | None
) -> Bound:
    """The steps of an exported program with the weights given, in float64.

    Raises:
        ValueError: weights are not finite, or output names none of the program's outputs.
        UnsupportedOperation: the program is not continuous and piecewise linear, or cannot be read.
    """
    with torch.no_grad():
        return _Binder(program, parameters, buffers).bound(output)


class _Binder:
    """Goes through the graph once, folding constants and turning every other node into steps."""

    def __init__(self, program: ExportedProgram, parameters: dict[str, Any], buffers: dict[str, Any]) -> None:
        self.program = program
        self.parameters, self.buffers = parameters, buffers
        self.environment: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.steps: list[Step] = []

    def bound(self, output: int | str | None) -> Bound:
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.environment[node.name] = self._placeholder(node)
            elif node.op == "call_function" and node.users:
                self.environment[node.name] = self._call(node)
            elif node.op == "output":
                chosen = self._output(node, output)
        inputs = self.program.graph_signature.user_inputs[0]
        given = self.environment[str(inputs)]
        meta = next(node.meta["val"] for node in self.program.graph.nodes if node.name == inputs)
        return Bound(tuple(_needed(self.steps, chosen.name)), given, chosen, meta.dtype)

    def _placeholder(self, node: Any) -> Any:
        signature = self.program.graph_signature
        if node.name in signature.inputs_to_parameters:
            name = signature.inputs_to_parameters[node.name]
            return _as_float64(self.parameters.get(name, self.program.state_dict.get(name)))
        if node.name in signature.inputs_to_buffers:
            name = signature.inputs_to_buffers[node.name]
            constants = self.program.constants.get(name)
            return _as_float64(self.buffers.get(name, self.program.state_dict.get(name, constants)))
        if node.name in signature.inputs_to_lifted_tensor_constants:
            return _as_float64(self.program.constants[signature.inputs_to_lifted_tensor_constants[node.name]])
        return Value(node.name, tuple(map(int, node.meta["val"].shape[1:])))

    def _call(self, node: Any) -> Any:
        arguments = self._resolve(node.args)
        keywords = {keyword: self._resolve(argument) for keyword, argument in node.kwargs.items()}
        depends = _contains_value(arguments) or _contains_value(list(keywords.values()))
        if not depends:
            return self._fold(node, arguments, keywords)
        if node.target is operator.getitem:
            return self._item(node, arguments)
        if "sym_size" in str(node.target):
            return self._size(arguments)
        call = self._describe(node, arguments, keywords)
        if isinstance(node.meta.get("val"), (tuple, list)):
            return call  # several outputs: each getitem makes its own step
        return self._emit(call, node.meta["val"])

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            return self.environment[argument.name]
        if isinstance(argument, (list, tuple)):
            return [self._resolve(item) for item in argument]
        return argument

    def _fold(self, node: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
        """A node that does not depend on the input is computed once, in float64 and for a batch of one."""
        if _contains_batch(arguments) or _contains_batch(list(keywords.values())):
            if "val" in node.meta and not isinstance(node.meta["val"], Tensor):
                return BATCH if node.target is not operator.eq else True
            arguments, keywords = (
                _without_batch(arguments),
                {k: _without_batch(v) for k, v in keywords.items()},
            )
        if isinstance(keywords.get("dtype"), torch.dtype) and keywords["dtype"].is_floating_point:
            keywords["dtype"] = torch.float64
        result = node.target(*arguments, **keywords)
        return _as_float64(result) if isinstance(result, Tensor) else result

    def _size(self, arguments: list[Any]) -> Any:
        value, dimension = arguments[:2]
        return BATCH if dimension == 0 else value.shape[dimension - 1 if dimension > 0 else dimension]

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
        operation = getattr(node.target, "_schema", None)
        name = (
            operation.name.split("::")[-1]
            if operation is not None
            else getattr(node.target, "__name__", str(node.target))
        )
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
            call.shape = _point_shape(call, meta)
        self.steps.extend(handler(call))
        return Value(call.name, call.shape)

    def _output(self, node: Any, output: int | str | None) -> Value:
        outputs = self._resolve(node.args[0])
        specs = self.program.graph_signature.user_outputs
        outputs = outputs[len(outputs) - len(specs) :]
        if len(outputs) > 1 or output is not None:
            outputs = [outputs[self._position(output, len(outputs))]]
        chosen = outputs[0]
        if not isinstance(chosen, Value):
            raise UnsupportedOperation("The model's output does not depend on its input.")
        return chosen

    def _position(self, output: int | str | None, count: int) -> int:
        spec = self.program.call_spec.out_spec
        keys = [str(key) for key in (spec.context or [])] if spec is not None and spec.type is dict else []
        if isinstance(output, str) and output in keys:
            return keys.index(output)
        if isinstance(output, int) and -count <= output < count:
            return output
        names = f"keys {keys}" if keys else f"positions 0 to {count - 1}"
        raise ValueError(
            f"The model returns {count} outputs ({names}), and output={output!r} does not name one of them."
        )


def _needed(steps: list[Step], output: str) -> Iterator[Step]:
    """The steps that the output depends on, in order."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.output in wanted:
            wanted.update(step.inputs)
            kept.append(step)
    return reversed(kept)


def _point_shape(call: Call, meta: Tensor) -> tuple[int, ...]:
    batch, *rest = meta.shape if meta.ndim else [None]
    if not isinstance(batch, torch.SymInt) or not all(isinstance(size, int) for size in rest):
        raise call.refuse(f"its output of shape {tuple(meta.shape)} does not keep the batch dimension in front")
    if str(batch) != str(_input_batch(call, batch)):
        raise call.refuse(f"it folds other dimensions into the batch ({batch} rows)")
    return tuple(rest)


def _input_batch(call: Call, batch: torch.SymInt) -> torch.SymInt | str:
    symbols = batch.node.expr.free_symbols
    return next(iter(symbols)) if len(symbols) == 1 else batch


def _contains_value(argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return any(_contains_value(item) for item in argument)
    return isinstance(argument, (Value, Call))


def _contains_batch(argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return any(_contains_batch(item) for item in argument)
    return argument is BATCH


def _without_batch(argument: Any) -> Any:
    if isinstance(argument, (list, tuple)):
        return [_without_batch(item) for item in argument]
    return 1 if argument is BATCH else argument


def _as_float64(tensor: Tensor) -> Tensor:
    """A constant in the precision of the walk: exact for every narrower float, and detached from the model."""
    tensor = tensor.detach()
    if not tensor.dtype.is_floating_point:
        return tensor
    if not torch.isfinite(tensor).all():
        raise ValueError("The model's weights contain NaN or infinity; nothing can be computed from them.")
    return tensor.to(torch.float64, copy=True)
