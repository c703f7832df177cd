"""What a network is made of: affine steps and gates over named values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from relu_regions.gates import Gate

__all__ = ["AffineStep", "GateStep", "Origin", "Step"]


@dataclass(frozen=True)
class Origin:
    """Where a step comes from: the module's path in the model, the operation it called, and the module's class."""

    module: str
    operation: str
    kind: str = ""

    def __str__(self) -> str:
        kind = f" ({self.kind})" if self.kind else ""
        return f"{self.operation} in {self.module or 'the model itself'}{kind}"


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
        is_matrix: whether the one constant is the matrix ``(outputs, inputs)`` of the map from one flat value to another.
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
    is_matrix: bool = False

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

    @cached_property
    def columns(self) -> Tensor:
        """The columns of the matrix, each of them contiguous, ``(inputs, outputs)``."""
        return self.constants[0].T.contiguous()

    def magnitude(self, *values: Tensor) -> Tensor:
        """Σ |a| |v| for every output number, the bias left out."""
        return self.function(*(value.abs() for value in values), *(constant.abs() for constant in self.constants))

    @property
    def workspace(self) -> int:
        """Numbers for each point that the step takes: its output, and the sum without its bias where that is made first."""
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
