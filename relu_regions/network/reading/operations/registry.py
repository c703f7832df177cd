"""The registry: what every ATen operation is to the reader, and the call that a handler is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.gates import Gate
from relu_regions.network.reading.operations.values import (
    STANDARD,
    Layout,
    Value,
    laid_out,
    numbered,
    size_for,
    taken_apart,
    values_in,
)
from relu_regions.network.steps import AffineStep, GateStep, Origin, Step

__all__ = [
    "OPERATIONS",
    "ROW_BY_ROW",
    "Call",
    "Handler",
    "UnsupportedOperation",
    "as_constant",
    "check_broadcast",
    "check_members",
    "only_first_is_value",
    "per_dimension",
    "register",
    "replay",
    "supported_operations",
]


class UnsupportedOperation(ValueError):
    """The model does something that is not continuous and piecewise linear, or that this library cannot read."""


@dataclass
class Call:
    """One operation of a traced model, its arguments resolved to values, constants and plain numbers.

    Attributes:
        name: of what it makes.
        origin: where it stands in the model.
        target: the ATen operation.
        args, kwargs: of it; a constant with a row for each member of the batch is there for a batch of one.
        shape: of one point's part of what it makes.
        layout: where the traced result has the batch.
        per_member: those constants, and on which axis they have the batch.
        absent: places of the result that hold minus infinity, or None; set by handlers.
    """

    name: str
    origin: Origin
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]
    layout: Layout = STANDARD
    per_member: tuple[tuple[Tensor, int], ...] = ()
    absent: Tensor | None = None

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

    def gate(self, value: Value, gate: Gate) -> GateStep:
        """A gate that makes this call's output."""
        return GateStep(self.name, (value.name,), self.shape, self.origin, gate)

    def named(self) -> Iterator[tuple[str, str, Any]]:
        """Name, type and argument, of all that were given."""
        declared = self.target._schema.arguments  # type: ignore[attr-defined]
        for number, given in enumerate(declared):
            if number < len(self.args):
                yield given.name, str(given.type), self.args[number]
            elif given.name in self.kwargs:
                yield given.name, str(given.type), self.kwargs[given.name]

    def mapped(self, change: Callable[[str, str, Any], Any]) -> Call:
        """The same call with other arguments, which a function gives for each argument's name, type and content."""
        changed = [change(*given) for given in self.named()]
        args = tuple(changed[: len(self.args)])
        names = [name for name, _, _ in self.named()][len(self.args) :]
        return replace(self, args=args, kwargs=dict(zip(names, changed[len(self.args) :])))


Handler = Callable[[Call], "list[Step]"]
OPERATIONS: dict[str, Handler] = {}
# Of these a handler reads what one member of a batch-first tensor is, whatever a member is.
ROW_BY_ROW: set[str] = set()


def register(*names: str, row_by_row: bool = False) -> Callable[[Handler], Handler]:
    """Make a function the handler of the ATen operations of these names.

    Args:
        row_by_row: whether the operations act on each row of the first axis alone, and the handler knows the standard
            layout only.
    """

    def add(handler: Handler) -> Handler:
        OPERATIONS.update(dict.fromkeys(names, handler))
        if row_by_row:
            ROW_BY_ROW.update(names)
        return handler

    return add


def supported_operations() -> list[str]:
    """The names of the ATen operations that can be read."""
    return sorted(OPERATIONS)


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
    most = len(value.traced)
    if constant.ndim > most:
        raise call.refuse(f"its constant of shape {tuple(constant.shape)} has more dimensions than the batch of values")
    axis = value.layout.axis - (most - constant.ndim)
    if axis >= 0 and value.layout.folded == 1 and constant.shape[axis] != 1:
        raise call.refuse(f"its constant of shape {tuple(constant.shape)} treats the members of a batch differently")


def replay(call: Call, values: list[Value], constants: Sequence[Tensor] = ()) -> Callable[..., Tensor]:
    """The call itself as a function of stacks of its values, and of some of its constants; the rest stays as traced."""

    def function(*given: Tensor) -> Tensor:
        points, others = given[: len(values)], given[len(values) :]
        count = points[0].shape[0]
        tensors = {value.name: laid_out(part, value.layout) for value, part in zip(values, points)}

        def fill(argument: Any) -> Any:
            if isinstance(argument, Value):
                return tensors[argument.name]
            if isinstance(argument, (list, tuple)):
                return type(argument)(map(fill, argument))
            if isinstance(argument, torch.dtype) and argument.is_floating_point:
                return points[0].dtype
            if not isinstance(argument, Tensor):
                return size_for(argument, count)
            place = next((number for number, constant in enumerate(constants) if constant is argument), None)
            return _constant(call, argument, argument if place is None else others[place], points[0])

        keywords = {keyword: fill(argument) for keyword, argument in call.kwargs.items()}
        result = call.target(*map(fill, call.args), **keywords)
        return taken_apart(result[0] if isinstance(result, tuple) else result, call.layout, count)

    return function


def _constant(call: Call, known: Tensor, content: Tensor, points: Tensor) -> Tensor:
    """A constant beside points: on their device, in their dtype, and with a row for each where the trace has that."""
    content = content.to(points.device, points.dtype if content.dtype.is_floating_point else content.dtype)
    axis = next((axis for constant, axis in call.per_member if constant is known), None)
    if axis is None:
        return content
    return content.expand(*content.shape[:axis], len(points), *content.shape[axis + 1 :])


def check_members(call: Call, values: Sequence[Value], function: Callable[..., Tensor]) -> None:
    """Refuse what mixes the members of a batch, or treats them differently.

    That is told by points of whole numbers, of which the function makes sums and multiples, which are exact.

    Args:
        function: of stacks of the values, its coefficients whole numbers or one number over another.
    """
    start, stacks = 1, []
    for value in values:
        stacks.append(numbered(value.shape, 3, start))
        start += stacks[-1].numel()
    try:
        alone = torch.cat([function(*(stack[row : row + 1] for stack in stacks)) for row in range(3)])
        apart = torch.equal(function(*stacks), alone)
    except (RuntimeError, IndexError):
        apart = False  # what works for another number of points only
    if not apart:
        raise call.refuse("it moves numbers between the members of a batch, or treats them differently")
