"""The inner loops of the walk, and what they pass on; the rest of the library does not know which backend runs.

It may import ``network``. It hands on ``kernel_for``, which chooses ``reference`` (torch), ``cpu`` (numba) or ``cuda``
(Triton); stacks of points (``points``), crossings and their placement, and how much memory and how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Protocol, cast

import torch
from torch import Tensor

from relu_regions.backends import reference
from relu_regions.backends.crossings import carry_over, edge_pieces
from relu_regions.backends.placement import Placement
from relu_regions.backends.points import Passed, Points
from relu_regions.network.chains import Chain
from relu_regions.network.gates import Gate, Maximum
from relu_regions.network.steps import AffineStep

__all__ = ["Kernel", "Placement", "carry_over", "edge_pieces", "kernel_for"]


class Kernel(Protocol):
    """What a backend answers; ``relu_regions.backends.reference`` says what each function does.

    Attributes:
        through: takes a stack through a chain in one go, as ``relu_regions.backends.cpu.chained.through``; None where gates are
            taken one by one.
    """

    through: Callable[[Chain, Points, bool, bool, int, float | None, int], Passed | None] | None

    def place(
        self, gate: Gate, inputs: Tensor, position: Tensor, weight: Tensor | None, starts_interval: Tensor, record: bool
    ) -> Placement: ...

    def workspace(self, gate: Gate, units: int, inputs: int) -> int: ...

    def insert(self, values: Tensor, placement: Placement) -> Tensor: ...

    def bend(self, gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement) -> Tensor: ...

    def bend_and_multiply(
        self, gate: Gate, inputs: Tensor, weight: Tensor | None, placement: Placement, step: AffineStep
    ) -> Tensor: ...

    def rows_in_doubt(
        self,
        distance: Tensor,
        bound: Tensor,
        before: Tensor,
        after: Tensor,
        zeros: Tensor | None = None,
        asked: Tensor | None = None,
    ) -> Tensor: ...

    def leads_in_doubt(
        self,
        gate: Maximum,
        values: Tensor,
        alike: Tensor,
        zeros: Tensor,
        bound: Tensor,
        before: Tensor,
        after: Tensor,
        starts_interval: Tensor,
    ) -> Tensor: ...

    def fading(self, values: Tensor, zeros: Tensor, least: float) -> Tensor: ...

    def largest(self, values: Tensor) -> Tensor: ...

    def exits(self, logits: Tensor, offsets: Tensor, label: Tensor, error: Tensor) -> tuple[Tensor, Tensor]: ...


@cache
def kernel_for(device: torch.device) -> Kernel:
    """The fastest installed backend for a device; it is loaded when first asked for."""
    if device.type == "cpu" and find_spec("numba") is not None:
        from relu_regions.backends.cpu import compiled as on_cpu

        return cast(Kernel, on_cpu)
    if device.type == "cuda" and find_spec("triton") is not None:
        from relu_regions.backends.cuda import compiled as on_cuda

        return cast(Kernel, on_cuda)
    return cast(Kernel, reference)
