"""What a network is made of: affine steps and gates over named values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from relu_regions.network.gates import Gate, flattened

__all__ = ["AffineStep", "Convolution", "Form", "GateStep", "Matrix", "Origin", "Step", "evaluate"]


@dataclass(frozen=True)
class Origin:
    """Where a step comes from.

    Attributes:
        module: the module's path in the model.
        operation: that it called.
        kind: the module's class.
        dtype: of what the operation makes in the model; None where that is not known.
        computed: whether its numbers come from several operations of the model, which round in the model's type.
    """

    module: str
    operation: str
    kind: str = ""
    dtype: torch.dtype | None = None
    computed: bool = False

    def __str__(self) -> str:
        kind = f" ({self.kind})" if self.kind else ""
        return f"{self.operation} in {self.module or 'the model itself'}{kind}"


@dataclass(frozen=True)
class Matrix:
    """The form of a step whose one constant is a matrix, ``(outputs, inputs)``, between flat values.

    Attributes:
        inputs: the shape of what it reads for one point.
    """

    inputs: tuple[int]

    def columns(self, matrix: Tensor) -> Tensor:
        """What one input number adds to the outputs, ``(inputs, outputs)``, a row for each input."""
        return matrix.T.contiguous()

    @property
    def geometry(self) -> tuple[int, ...]:
        """Nothing: an entry of a column belongs to the output of the same number."""
        return ()


@dataclass(frozen=True)
class Convolution:
    """The form of a step whose one constant is a kernel, ``(output channels, input channels of a group, *kernel)``.

    Attributes:
        inputs, outputs: the shapes of what it reads and makes for one point, channels first; one or two dimensions of
            space.
        kernel, stride, padding, dilation: a number for each dimension; padding is that before the first place.
        groups: into how many parts the channels are divided.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def columns(self, kernel: Tensor) -> Tensor:
        """What a number of an input channel is multiplied by, ``(input channels, numbers)``.

        The numbers are for each place of the kernel, and there for each output channel of the input's group.
        """
        parts = kernel.view(self.groups, -1, kernel.shape[1], prod(self.kernel))
        return parts.permute(0, 2, 3, 1).reshape(self.inputs[0], -1).contiguous()

    @property
    def geometry(self) -> tuple[int, ...]:
        """Height and width of input and output, kernel, stride, padding, dilation, input channels of a group."""
        per_dimension = (
            (self.inputs[1:], 1), (self.outputs[1:], 1), (self.kernel, 1), (self.stride, 1), (self.padding, 0),
            (self.dilation, 1),
        )  # fmt: skip
        pairs = ((*[missing] * (2 - len(numbers)), *numbers) for numbers, missing in per_dimension)
        return (*(number for pair in pairs for number in pair), self.inputs[0] // self.groups)


Form = Matrix | Convolution


@dataclass(frozen=True)
class AffineStep:
    """An affine map from one or several values to one value.

    The map is ``function(*values, *constants) + bias``, where ``function`` is linear in the values together and its
    coefficients are the constants (or plain non-negative numbers fixed in the operation, as in a mean). Applied to
    absolute values and the constants' absolute values it therefore gives Σ |a| |v|, which error bounds need.

    Attributes:
        output: name of the value it makes.
        inputs: names of the values it reads.
        shape: of the output, without the leading dimension of points.
        function: acts on stacks ``(points, *shape)``.
        constants: float tensors.
        bias: broadcastable to ``(1, *shape)``, or None.
        terms: the largest number of products summed for one output number.
        fused: the whole map in one call of the values, where there is a faster one.
        form: how one input number reaches the outputs, where that is known: then the one constant says by how much.
        elementwise: whether the map multiplies each number of the one input by the one constant and adds the bias.
        places: the most numbers along a dimension, where the function itself makes coefficients of places along it, as
            interpolation does. In float32 these are other ones, off by so many roundings; else 0.
        given: numbers of the model of which constants or bias are quotients or multiples, as 1 / c is of c, in float64:
            in a narrow type these may round to 0, or overflow, where the quotient does not.
    """

    output: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    origin: Origin
    function: Callable[..., Tensor]
    constants: tuple[Tensor, ...] = ()
    bias: Tensor | None = None
    terms: int = 1
    fused: Callable[..., Tensor] | None = None
    form: Form | None = None
    elementwise: bool = False
    places: int = 0
    given: tuple[Tensor, ...] = ()

    @property
    def is_matrix(self) -> bool:
        """Whether the one constant is the matrix ``(outputs, inputs)`` of the map from one flat value to another."""
        return isinstance(self.form, Matrix)

    def linear(self, *values: Tensor) -> Tensor:
        """The linear part alone."""
        return self.function(*values, *self.constants)

    def __call__(self, *values: Tensor, weight: Tensor | None = None) -> Tensor:
        """The map for a stack of points.

        Args:
            values: one stack ``(points, *shape)`` for each input.
            weight: homogeneous coordinate of each point, ``(points,)``, by which the bias is weighted; None
                where all are 1.
        """
        if self.bias is None:
            return self.linear(*values)
        if weight is not None:
            return torch.addcmul(self.linear(*values), weight.view(-1, *[1] * len(self.shape)), self.bias)
        if self.fused is not None:
            return self.fused(*values, *self.constants, self.bias)
        return self.linear(*values) + self.bias

    def overwrite(self, value: Tensor, weight: Tensor | None) -> Tensor:
        """As a call of an elementwise step, in the memory of its input."""
        if self.bias is None:
            return value.mul_(self.constants[0])
        if weight is None:
            return torch.addcmul(self.bias, value, self.constants[0], out=value)
        return value.mul_(self.constants[0]).addcmul_(weight.view(-1, *[1] * len(self.shape)), self.bias)

    @cached_property
    def columns(self) -> Tensor:
        """What one input number adds to the outputs, as the step's form lays it out, each column contiguous."""
        if self.form is None:
            raise ValueError(f"{self.origin} has no form from which columns could be read")
        return self.form.columns(self.constants[0])

    def magnitude(self, *values: Tensor) -> Tensor:
        """Σ |a| |v| for every output number, the bias left out."""
        return self.function(*(value.abs() for value in values), *(constant.abs() for constant in self.constants))

    @property
    def workspace(self) -> int:
        """Numbers that the step takes for each point: its output, and the sum without bias if that is made first."""
        return prod(self.shape) * (1 if self.bias is None or self.fused is not None else 2)

    def to(self, dtype: torch.dtype, device: torch.device) -> AffineStep:
        """The same step with its numbers in another dtype or on another device; itself where they are so already."""
        numbers = self.constants if self.bias is None else (*self.constants, self.bias)
        if all(number.dtype == dtype and number.device == device for number in numbers):
            return self
        return replace(
            self,
            constants=tuple(constant.to(device, dtype) for constant in self.constants),
            bias=None if self.bias is None else self.bias.to(device, dtype),
        )


@dataclass(frozen=True)
class GateStep:
    """A gate from one value to one value.

    Attributes:
        output: name of the value it makes.
        inputs: the name of the value it reads, alone in a tuple.
        shape: of the output, without the leading dimension of points.
        gate: what it does to the flattened value.
    """

    output: str
    inputs: tuple[str]
    shape: tuple[int, ...]
    origin: Origin
    gate: Gate

    @property
    def units(self) -> int:
        """The number of units that can bend."""
        return prod(self.shape)

    def to(self, dtype: torch.dtype, device: torch.device) -> GateStep:
        """The same step with its numbers in another dtype or on another device; itself where they are so already."""
        gate = self.gate.to(dtype, device)
        return self if gate is self.gate else replace(self, gate=gate)


Step = AffineStep | GateStep


def evaluate(step: Step, values: list[Tensor]) -> Tensor:
    """What a step makes of stacks of points ``(N, *shape)``, one for each value that it reads."""
    if isinstance(step, AffineStep):
        return step(*values)
    return step.gate.apply(flattened(values[0])).view(len(values[0]), *step.shape)
