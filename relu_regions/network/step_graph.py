"""StepGraph: a network as steps over named values, and nothing of how it was read or is walked."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar, cast

import torch
from torch import Tensor

from relu_regions.network.steps import GateStep, Step, evaluate

__all__ = ["StepGraph"]

N = TypeVar("N", bound="StepGraph")
T = TypeVar("T")


@dataclass(frozen=True)
class StepGraph:
    """A continuous piecewise-linear network: its steps and the shapes at its ends.

    Attributes:
        steps: affine steps and gates, each after those it reads from.
        input_name: the value that the first steps read.
        output_name: the value that holds the logits.
        input_shape: shape of one input, without the batch dimension.
        output_shape: shape of one output; ``(classes,)`` for a classifier.
        input_dtype: what the model itself computes in.
    """

    steps: tuple[Step, ...]
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_dtype: torch.dtype = torch.float64

    @property
    def gates(self) -> tuple[GateStep, ...]:
        """The steps that bend, in order."""
        return tuple(step for step in self.steps if isinstance(step, GateStep))

    @property
    def units(self) -> int:
        """How many units can bend."""
        return sum(step.units for step in self.gates)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every value, by name."""
        return {self.input_name: self.input_shape} | {step.output: step.shape for step in self.steps}

    @cached_property
    def gate_numbers(self) -> dict[int, int]:
        """The number of each gate among the gates, by its step's index."""
        indices = (index for index, step in enumerate(self.steps) if isinstance(step, GateStep))
        return {index: number for number, index in enumerate(indices)}

    def __call__(self, x: Tensor) -> Tensor:
        """The network's own forward pass: ``(N, *input_shape)`` to ``(N, *output_shape)``, in x's dtype."""
        values = {self.input_name: x}
        for step, last_use in zip(self.steps, self.releases):
            values[step.output] = evaluate(step, [values[name] for name in step.inputs])
            for name in last_use:
                del values[name]
        return values[self.output_name]

    @cached_property
    def releases(self) -> list[tuple[str, ...]]:
        """For each step, the values that no later step needs."""
        seen = {self.output_name}
        result: list[tuple[str, ...]] = []
        for step in reversed(self.steps):
            result.append(tuple(name for name in dict.fromkeys(step.inputs) if name not in seen))
            seen.update(step.inputs)
        return result[::-1]

    def to(self: N, dtype: torch.dtype, device: torch.device | str) -> N:
        """The same network in another dtype or on another device, made once; itself if it is so already."""
        other = self.derived(("to", dtype, torch.device(device)), lambda: self._other(dtype, torch.device(device)))
        return other or self

    def _other(self: N, dtype: torch.dtype, device: torch.device) -> N | None:
        steps = tuple(step.to(dtype, device) for step in self.steps)
        # A network that held itself would not be freed at once.
        return None if all(one is other for one, other in zip(steps, self.steps)) else replace(self, steps=steps)

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """What follows from this network under a name, made once; it must not hold the network itself."""
        held = self._derived
        if key not in held:
            held[key] = make()
        return cast(T, held[key])

    @cached_property
    def _derived(self) -> dict[Hashable, object]:
        return {}

    def describe(self) -> str:
        """A table of the steps: what each does, the shape it makes, the units that bend, and its module."""
        rows = [("step", "operation", "shape", "units", "module")]
        for index, step in enumerate(self.steps):
            units = f"{step.units:,}" if isinstance(step, GateStep) else ""
            shape = "x".join(map(str, step.shape)) or "1"
            rows.append((str(index), step.origin.operation, shape, units, step.origin.module or "(model)"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        inputs, outputs = ("x".join(map(str, shape)) or "1" for shape in (self.input_shape, self.output_shape))
        return "\n".join([f"{inputs} -> {outputs}, {self.units:,} units that bend in {len(self.gates)} gates", *lines])
