"""The inner loops of the walk, and what they pass on; the rest of the library does not know which backend runs.

It may import ``network``. It hands on ``use``, with which a person chooses ``reference`` (torch), ``compiled`` (numba,
for a CPU) or ``cuda`` (Triton); ``kernel_for``, which follows that choice or takes the fastest; stacks of points
(``points``), crossings and their placement, and how much memory and how many threads there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, cast, get_args

import torch
from torch import Tensor

from relu_regions.backends.crossings import carry_over, edge_pieces
from relu_regions.backends.placement import Placement
from relu_regions.backends.points import Passed, Points
from relu_regions.backends.ties import Ties
from relu_regions.network.chains import Chain
from relu_regions.network.gates import Gate, Maximum, OrderStatistic
from relu_regions.network.steps import AffineStep

__all__ = ["Kernel", "Placement", "carry_over", "chosen", "edge_pieces", "kernel_for", "use"]


class Kernel(Protocol):
    """What a backend answers; ``relu_regions.backends.reference`` says what each function does.

    Attributes:
        through: takes a stack through a chain in one go, as ``relu_regions.backends.cpu.chained.through``; None where
            gates are taken one by one.
    """

    through: Callable[[Chain, Points, bool, bool, int, float | None, int], Passed | None] | None

    def place(
        self,
        gate: Gate,
        inputs: Tensor,
        position: Tensor,
        weight: Tensor | None,
        starts_interval: Tensor,
        record: bool,
        leads: bool = False,
        ties: Ties | None = None,
    ) -> Placement: ...

    def workspace(self, gate: Gate, units: int, inputs: int, multiplied: bool) -> int: ...

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
        gate: Maximum | OrderStatistic,
        values: Tensor,
        ties: Ties,
        zeros: Tensor,
        bound: Tensor,
        before: Tensor,
        after: Tensor,
        starts_interval: Tensor,
    ) -> Tensor: ...

    def equalise(self, values: Tensor, ties: Ties) -> None: ...

    def fading(self, values: Tensor, zeros: Tensor, least: float) -> Tensor: ...

    def largest(self, values: Tensor) -> Tensor: ...

    def exits(self, logits: Tensor, offsets: Tensor, label: Tensor, error: Tensor) -> tuple[Tensor, Tensor]: ...


Name = Literal["reference", "compiled", "cuda"]


class _Backend(NamedTuple):
    """Where a backend is, the type of device that it runs on (None for all), and the package that it needs."""

    module: str
    device: str | None = None
    package: str | None = None


_BACKENDS: dict[Name, _Backend] = {
    "reference": _Backend("reference"),
    "compiled": _Backend("cpu.compiled", "cpu", "numba"),
    "cuda": _Backend("cuda.compiled", "cuda", "triton"),
}
# What use() was told last; None for the fastest on each device.
_chosen: Name | None = None


class use:
    """Choose the backend of all walks: as a call from now on, as a context manager until the end of the block.

    The choice holds for the whole process, in every thread, so that the threads that a walk starts keep to it. All
    backends give the same breakpoints; blocks that overlap in several threads see each other's choice, and the one that
    ends last restores what it found.

    Args:
        name: ``"reference"`` (torch, on every device), ``"compiled"`` (numba, on a CPU), ``"cuda"`` (Triton, on a CUDA
            device; on a CPU, slowly, if the environment variable TRITON_INTERPRET was set to 1 before Triton was
            loaded), or None for the fastest that is installed for the device at hand.

    Raises:
        ValueError: there is no backend of that name. A walk raises it too, where its input lies on a device on which
            the chosen backend does not run.
        ImportError: the package that the backend needs is not installed.
    """

    def __init__(self, name: Name | None) -> None:
        global _chosen
        if name is not None:
            if name not in get_args(Name):
                names = ", ".join(map(repr, get_args(Name)))
                raise ValueError(f"there is no backend {name!r}: use one of {names}, or None for the fastest")
            package = _BACKENDS[name].package
            if package is not None and find_spec(package) is None:
                raise ImportError(f"the backend {name!r} needs {package}, which is not installed", name=package)
        self._before, _chosen = _chosen, name

    def __enter__(self) -> None:
        """The choice was made when this was called."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _chosen
        _chosen = self._before


def chosen() -> Name | None:
    """What ``use`` was told last; None for the fastest on each device."""
    return _chosen


def kernel_for(device: torch.device) -> Kernel:
    """The backend that was chosen, or else the fastest installed one for a device; loaded when first asked for."""
    if _chosen is None:
        return _loaded(_fastest(device.type))
    needed = _BACKENDS[_chosen].device
    if needed not in (None, device.type) and not (_chosen == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"):
        raise ValueError(
            f"the backend {_chosen!r} runs on {needed}, but the input lies on {device}: "
            "move it, or choose another backend"
        )
    return _loaded(_chosen)


@cache
def _fastest(device: str) -> Name:
    for name, backend in _BACKENDS.items():
        if backend.device == device and backend.package is not None and find_spec(backend.package) is not None:
            return name
    return "reference"


@cache
def _loaded(name: Name) -> Kernel:
    return cast(Kernel, import_module(f"{__name__}.{_BACKENDS[name].module}"))
