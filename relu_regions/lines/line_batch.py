"""The door: what the caller gave as model, points, directions and range, checked and brought to one form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from relu_regions.backends.threads import one_thread
from relu_regions.network.gates import Knots
from relu_regions.network.network import Network, read
from relu_regions.network.plan import fused
from relu_regions.network.reading.verify import Original
from relu_regions.network.steps import AffineStep

__all__ = [
    "Array",
    "Breakpoints",
    "LineBatch",
    "Model",
    "PointBatch",
    "Range",
    "as_directions",
    "as_points",
    "check_breakpoints",
    "converted",
    "spread",
]

Array = Tensor | np.ndarray
Model = nn.Module | Network | ExportedProgram
Breakpoints = Literal["pattern", "function"]
Range = tuple[float | Sequence[float] | Array, float | Sequence[float] | Array]


def check_breakpoints(breakpoints: Breakpoints) -> None:
    """Raise a ValueError for what is none of its values."""
    if breakpoints not in get_args(Breakpoints):
        raise ValueError(f"breakpoints must be one of {get_args(Breakpoints)}, not {breakpoints!r}.")


@dataclass(frozen=True)
class PointBatch:
    """The points of a batch and the network they go through.

    Attributes:
        network: in the dtype of the computation, on x's device.
        x: ``(N, *input_shape)``, in the dtype of the computation.
    """

    network: Network
    x: Tensor

    def __len__(self) -> int:
        return self.x.shape[0]

    @classmethod
    def of(cls, model: Model, x: Array, dtype: torch.dtype = torch.float64) -> PointBatch:
        """Check what a public function was given.

        Raises:
            TypeError: x is no floating-point tensor or array; dtype is neither float64 nor float32.
            ValueError: x is no batch of the model's inputs, or a number is not finite; or as
                ``Network.from_module``.
            UnsupportedOperation: as ``Network.from_module``.
        """
        points = as_points(x, dtype)
        network, original = read(
            model, points.shape[1:], points[:2].expand(2, *points.shape[1:]) if len(points) else None
        )
        if original is not None:
            original.check(spread(points, original.most_rows))
        return cls(converted(network, points), points)


@dataclass(frozen=True)
class LineBatch:
    """The lines ``x + t d`` of a batch and the network they go through.

    Attributes:
        network: in the dtype of the walk, on x's device.
        x, d: ``(N, *input_shape)``, in the dtype of the walk.
        low, high: ``(N,)`` float64, ``low <= 0 <= high`` and ``low < high``.
        original: the model that the network was read from; None where a network was given.
        given: the same lines in float64, as they were given, where the walk is in float32 and something is to be proven
            of them; else None.
    """

    network: Network
    x: Tensor
    d: Tensor
    low: Tensor
    high: Tensor
    original: Original | None = None
    given: LineBatch | None = None

    def __len__(self) -> int:
        return self.x.shape[0]

    @classmethod
    def of(
        cls,
        model: Model,
        x: Array,
        d: Array,
        t_range: Range,
        dtype: torch.dtype = torch.float64,
        *,
        proven: bool = False,
    ) -> LineBatch:
        """Check what a public function was given.

        Args:
            proven: whether something is to be proven of the lines as they were given.

        Raises:
            TypeError: x or d is no floating-point tensor or array; dtype is neither float64 nor float32.
            ValueError: shapes do not match, a number is not finite, a direction is zero, or the range is empty or
                leaves out 0; or as ``Network.from_module``.
            UnsupportedOperation: as ``Network.from_module``.
        """
        # After a sum torch's idle threads would spin briefly and compete for the cores.
        with one_thread():
            points = as_points(x, dtype)
            directions = as_directions("d", d, points)
            low, high = (_bound(name, bound, points) for name, bound in zip(("lower", "upper"), _two_ends(t_range)))
            _check_range(low, high, dtype)
        ends = torch.cat([points[:1], points[:1] + directions[:1]]) if len(points) else None
        network, original = read(model, points.shape[1:], ends)
        given = None
        if proven and dtype != torch.float64:
            exact = as_points(x, torch.float64)
            given = cls(converted(network, exact), exact, as_directions("d", d, exact), low, high)
        return cls(converted(network, points), points, directions, low, high, original, given)

    def fused(self) -> LineBatch:
        """The same lines through the same function, with maxima fused as ``network.plan.fused`` does."""
        given = None if self.given is None else self.given.fused()
        return replace(self, network=fused(self.network), given=given)

    def only(self, numbers: Tensor) -> LineBatch:
        """Some of the lines, ``(K,)`` int64, without the original."""
        given = None if self.given is None else self.given.only(numbers)
        x, d, low, high = (part[numbers] for part in (self.x, self.d, self.low, self.high))
        return LineBatch(self.network, x, d, low, high, given=given)

    @property
    def is_as_given(self) -> bool:
        """Whether coefficients, points, directions and ranges are exactly what was given."""
        given = self.given
        if given is None:
            return True
        pairs = ((self.x, given.x), (self.d, given.d))
        ends = (self.low.to(self.x.dtype), self.low), (self.high.to(self.x.dtype), self.high)
        same = self.network.derived("as given", lambda: _same_numbers(self.network, given.network))
        return same and all(torch.equal(here.double(), there) for here, there in (*pairs, *ends))

    def compare(self, lines: Tensor, t: Tensor) -> None:
        """Compare the network with the model that it was read from, at points of an answer.

        Args:
            lines: numbers of lines, ``(K,)`` int64.
            t: where on them, ``(K,)``; what is not finite is left out.

        Raises:
            UnsupportedOperation: they differ by more than the model's rounding explains; the text names the point.
        """
        if self.original is None:
            return
        finite = torch.isfinite(t)
        lines, t = (spread(part[finite], self.original.most_rows) for part in (lines, t))
        self.original.check(self.x[lines] + t.to(self.x).view(-1, *[1] * (self.x.ndim - 1)) * self.d[lines])


def spread(rows: Tensor, most: int) -> Tensor:
    """At most so many rows, from the whole length."""
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most, device=rows.device).round().long()]


def converted(network: Network, points: Tensor) -> Network:
    """The network in the dtype and on the device of the points.

    Raises:
        ValueError: a coefficient is beyond the floats of that dtype.
    """
    network = network.to(points.dtype, points.device)
    if points.dtype == torch.float32 and not network.derived(_all_finite, lambda: _all_finite(network)):
        raise ValueError(
            "The model has coefficients beyond the largest float32 number; use dtype=torch.float64, or scale them down."
        )
    return network


def _all_finite(network: Network) -> bool:
    return all(bool(torch.isfinite(numbers).all()) for numbers in _numbers(network))


def _same_numbers(network: Network, other: Network) -> bool:
    # Coefficients that are no constants but made of places are others in another dtype.
    made = any(isinstance(step, AffineStep) and step.places and not step.constants for step in network.steps)
    same = (torch.equal(here.double(), there) for here, there in zip(_numbers(network), _numbers(other)))
    return not made and all(same)


def _numbers(network: Network) -> list[Tensor]:
    """All coefficients of a network, in order."""
    parts: list[Tensor | None] = []
    for step in network.steps:
        if isinstance(step, AffineStep):
            parts += [*step.constants, step.bias]
        elif isinstance(step.gate, Knots):
            parts += [step.gate.knots, step.gate.slopes, step.gate.offsets]
    return [numbers for numbers in parts if numbers is not None]


def as_points(x: Array, dtype: torch.dtype) -> Tensor:
    if dtype not in (torch.float64, torch.float32):
        raise TypeError(f"dtype must be torch.float64 or torch.float32, not {dtype}.")
    points = _as_floats("x", x)
    if points.ndim < 2:
        raise ValueError(
            f"x must be a batch (N, *input_shape), but has shape {tuple(points.shape)}; use x[None] for one point."
        )
    points = points.to(dtype)
    _refuse_what_is_not_finite("x", points, points)
    return points


def as_directions(name: str, d: Array, points: Tensor) -> Tensor:
    directions = _as_floats(name, d).to(points.device)
    try:
        directions = directions.expand_as(points)
    except RuntimeError:
        raise ValueError(
            f"{name} has shape {tuple(directions.shape)}, which does not broadcast to x's shape {tuple(points.shape)}."
        ) from None
    directions = directions.to(points.dtype)
    sizes = torch.linalg.vector_norm(directions.flatten(1), 1, 1)
    _refuse_what_is_not_finite(name, directions, sizes)
    if not sizes.all():
        raise ValueError(f"{name} is zero {_rows(sizes == 0)}; a direction must have a component that is not 0.")
    return directions


def _as_floats(name: str, given: Array) -> Tensor:
    if isinstance(given, np.ndarray):
        given = torch.from_numpy(np.ascontiguousarray(given))
    if not isinstance(given, Tensor):
        raise TypeError(f"{name} must be a torch tensor or a numpy array, not {type(given).__name__}.")
    if not given.dtype.is_floating_point:
        raise TypeError(f"{name} has dtype {given.dtype}; give floating-point numbers, for example {name}.double().")
    return given.detach()


def _rows(bad: Tensor) -> str:
    rows = bad.nonzero()[:, 0].tolist()
    shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return f"in row{'s' if len(rows) > 1 else ''} {shown} of {len(bad)}"


def _refuse_what_is_not_finite(name: str, given: Tensor, summands: Tensor) -> None:
    # A sum takes one pass; only if it is not finite does it matter why.
    if torch.isfinite(summands.sum()):
        return
    bad = ~torch.isfinite(given)
    if bad.any():
        raise ValueError(f"{name} is not finite {_rows(bad.flatten(1).any(1))}; only finite numbers can be walked.")


def _two_ends(t_range: Range) -> Range:
    if not isinstance(t_range, (tuple, list)) or len(t_range) != 2:
        raise ValueError(f"t_range must be a pair (lower end, upper end), not {t_range!r}.")
    return t_range[0], t_range[1]


def _bound(name: str, bound: float | Sequence[float] | Array, points: Tensor) -> Tensor:
    try:
        ends = torch.as_tensor(bound, dtype=torch.float64, device=points.device)
        return ends.expand(len(points))
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"The {name} end of t_range must be a number or {len(points)} numbers, not {bound!r}."
        ) from None


def _check_range(low: Tensor, high: Tensor, dtype: torch.dtype) -> None:
    if ((low <= 0) & (high >= 0) & (low < high)).all():
        if dtype != torch.float64:
            _refuse_ends_that_are_lost("lower", low, dtype)
            _refuse_ends_that_are_lost("upper", high, dtype)
        return
    if torch.isnan(low).any() or torch.isnan(high).any():
        raise ValueError("t_range contains NaN.")
    empty = low >= high
    if empty.any():
        row = int(empty.nonzero()[0])
        raise ValueError(
            f"t_range is empty: its lower end {low[row].item()} is not below its upper end {high[row].item()}."
        )
    outside = (low > 0) | (high < 0)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"t_range ({low[row].item()}, {high[row].item()}) leaves out t = 0, the point x itself; "
            "move x along d so that it is inside."
        )


def _refuse_ends_that_are_lost(name: str, ends: Tensor, dtype: torch.dtype) -> None:
    """Refuse what rounds to 0 or to infinity: it would be another range."""
    rounded = ends.to(dtype).double()
    lost = ((rounded == 0) & (ends != 0)) | (torch.isinf(rounded) & ~torch.isinf(ends))
    if lost.any():
        row = int(lost.nonzero()[0])
        raise ValueError(
            f"The {name} end of t_range, {ends[row].item()}, is {rounded[row].item()} in {dtype}; "
            "give one that is not, or use dtype=torch.float64."
        )
