"""The registry: what every ATen operation is to the reader, and the call that a handler is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.steps import AffineStep, GateStep, Origin, Step

__all__ = [
    "BATCH",
    "FROM_BATCH",
    "OPERATIONS",
    "Batch",
    "Call",
    "FromBatch",
    "Handler",
    "UnsupportedOperation",
    "Value",
    "as_constant",
    "check_broadcast",
    "only_first_is_value",
    "per_dimension",
    "register",
    "replay",
    "supported_operations",
    "values_in",
]


class UnsupportedOperation(ValueError):
    """The model does something that is not continuous and piecewise linear, or that this library cannot read."""


class Batch:
    """Stands for the number of points wherever a traced model asks for its batch size."""

    def __repr__(self) -> str:
        return "BATCH"


class FromBatch:
    """Stands for a number that the model computes from its batch size."""

    def __repr__(self) -> str:
        return "FROM_BATCH"


BATCH, FROM_BATCH = Batch(), FromBatch()


@dataclass(frozen=True)
class Value:
    """A tensor of the model that depends on its input: a name, and the shape of one point's part."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Call:
    """One operation of a traced model, its arguments resolved to values, constants and plain numbers."""

    name: str
    origin: Origin
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]

    def argument(self, position: int, keyword: str, default: Any = None) -> Any:
        """An argument by position or keyword."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(keyword, default)

    def refuse(self, reason: str) -> UnsupportedOperation:
        """The error that names the module, the operation and what to do."""
        return UnsupportedOperation(
            f"Cannot read {self.origin}: {reason}. relu_regions reads continuous piecewise-linear networks; "
            "see relu_regions.supported_operations() for the operations it knows."
        )

    def affine(self, inputs: Sequence[Value], function: Callable[..., Tensor], **details: Any) -> AffineStep:
        """An affine step that makes this call's output."""
        names = tuple(value.name for value in inputs)
        return AffineStep(self.name, names, self.shape, self.origin, function, **details)

    def gate(self, value: Value, gate: Knots | Maximum) -> GateStep:
        """A gate that makes this call's output."""
        return GateStep(self.name, (value.name,), self.shape, self.origin, gate)


Handler = Callable[[Call], "list[Step]"]
OPERATIONS: dict[str, Handler] = {}


def register(*names: str) -> Callable[[Handler], Handler]:
    """Make a function the handler of the ATen operations of these names."""

    def add(handler: Handler) -> Handler:
        OPERATIONS.update(dict.fromkeys(names, handler))
        return handler

    return add


def supported_operations() -> list[str]:
    """The names of the ATen operations that can be read."""
    return sorted(OPERATIONS)


def values_in(arguments: Any) -> list[Value]:
    """Every value among the arguments, in order, also inside lists."""
    if isinstance(arguments, Value):
        return [arguments]
    if isinstance(arguments, (list, tuple)):
        return [value for argument in arguments for value in values_in(argument)]
    return []


def only_first_is_value(call: Call) -> Value:
    """The call's first argument, where nothing else depends on the input."""
    first = call.args[0]
    if not isinstance(first, Value) or len(values_in(call.args) + values_in(list(call.kwargs.values()))) != 1:
        raise call.refuse("only its first argument may depend on the network's input")
    return first


def per_dimension(given: Any, rank: int) -> tuple[int, ...]:
    """An option that is one number for all dimensions of space or one for each, as the latter."""
    numbers: list[int] = [given] if isinstance(given, int) else list(given)
    return tuple(numbers * rank if len(numbers) == 1 else numbers)


def as_constant(operand: Any) -> Tensor:
    """A constant operand as a float64 tensor; integers as the nearest float64."""
    return torch.as_tensor(operand, dtype=torch.float64)


def check_broadcast(call: Call, value: Value, constant: Tensor) -> None:
    """Refuse a constant that is not the same for every member of a batch."""
    if constant.ndim > len(value.shape) and constant.ndim == len(value.shape) + 1 and constant.shape[0] != 1:
        raise call.refuse(f"its constant of shape {tuple(constant.shape)} treats the members of a batch differently")
    if constant.ndim > len(value.shape) + 1:
        raise call.refuse(f"its constant of shape {tuple(constant.shape)} has more dimensions than the batch of values")


def replay(call: Call, values: list[Value]) -> Callable[..., Tensor]:
    """The call itself as a function of its values alone; its other arguments stay as traced."""

    def fill(argument: Any, points: dict[str, Tensor]) -> Any:
        if isinstance(argument, Value):
            return points[argument.name]
        if isinstance(argument, (list, tuple)):
            return type(argument)(fill(item, points) for item in argument)
        return next(iter(points.values())).shape[0] if argument is BATCH else argument

    names = [value.name for value in values]

    def function(*points: Tensor) -> Tensor:
        given = dict(zip(names, points))
        keywords = {keyword: fill(argument, given) for keyword, argument in call.kwargs.items()}
        result: Tensor = call.target(*fill(call.args, given), **keywords)
        return result

    return function
