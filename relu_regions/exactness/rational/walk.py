"""The exact walk: every breakpoint of a network along a segment, as a fraction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from torch import Tensor

from relu_regions.exactness.rational.arithmetic import Point
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.paths import RationalPath
from relu_regions.exactness.rational.stretch import on_line
from relu_regions.lines.line_batch import Array, LineBatch, Model

__all__ = ["End", "ExactLines", "ExactModel", "ExactRange", "walk", "walk_between"]

ExactModel: TypeAlias = Model | ExactNetwork
End: TypeAlias = Fraction | float | int
ExactRange: TypeAlias = tuple[End | Sequence[End] | Array, End | Sequence[End] | Array]


def walk(
    model: ExactModel, x: Float[Array, " N *shape"], d: Float[Array, " ..."], t_range: ExactRange = (-1, 2)
) -> list[RationalPath]:
    """Every breakpoint of the network along ``x + t d``, in exact rational arithmetic.

    The same question as ``relu_regions.walk``, answered without rounding for the real-valued network that the
    float64 coefficients define, and far slower. With python-flint installed (the extra ``rational``) it is faster.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, a Network, or an ExactNetwork, which keeps its exact
            coefficients for the next call; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        d: directions, broadcastable to x, none of them zero.
        t_range: lower and upper end of t, each a number (a Fraction too) or N numbers, around 0; may be infinite.

    Returns:
        A path for each line.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    lines = ExactLines.of(model, x, d, t_range)
    return [
        walk_between(lines.network, x_row, d_row, low, high)
        for x_row, d_row, low, high in zip(lines.x, lines.d, lines.low, lines.high)
    ]


def walk_between(network: ExactNetwork, x: Tensor, d: Tensor, low: Point, high: Point) -> RationalPath:
    """Every breakpoint of one line strictly between two values of t, which need not be around 0.

    Args:
        network: with exact coefficients.
        x: a point, ``input_shape``, float64.
        d: a direction, likewise.
        low: the lower end.
        high: the upper end, above it.
    """
    stretch = next(on_line(network, x, d, low, high).through(network))
    return RationalPath(stretch, network.network.output_name)


@dataclass(frozen=True)
class ExactLines:
    """What the caller gave, checked: a network with exact coefficients, and lines.

    Attributes:
        x, d: ``(N, *input_shape)``, float64, on the CPU.
        low, high: the ends of each line's range.
    """

    network: ExactNetwork
    x: Tensor
    d: Tensor
    low: list[Point]
    high: list[Point]

    @classmethod
    def of(cls, model: ExactModel, x: Array, d: Array, t_range: ExactRange) -> ExactLines:
        """Check what a public function was given.

        Raises:
            TypeError, ValueError, UnsupportedOperation: as ``LineBatch.of``.
        """
        plain = model.network if isinstance(model, ExactNetwork) else model
        lines = LineBatch.of(plain, x, d, (-math.inf, math.inf))
        network = model if isinstance(model, ExactNetwork) else ExactNetwork(lines.network)
        if not isinstance(t_range, (tuple, list)) or len(t_range) != 2:
            raise ValueError(f"t_range must be a pair (lower end, upper end), not {t_range!r}.")
        low, high = (_ends(name, end, len(lines)) for name, end in zip(("lower", "upper"), t_range))
        zero = Point(0, 1)
        for row, (start, stop) in enumerate(zip(low, high)):
            if not start.order < stop.order:
                raise ValueError(f"t_range is empty in row {row}: {start.t} is not below {stop.t}.")
            if zero.order < start.order or stop.order < zero.order:
                raise ValueError(
                    f"t_range ({start.t}, {stop.t}) in row {row} leaves out t = 0, the point x itself; "
                    "move x along d so that it is inside."
                )
        return cls(network, lines.x.detach().cpu(), lines.d.detach().cpu(), low, high)


def _ends(name: str, given: End | Sequence[End] | Array, count: int) -> list[Point]:
    several: object = given.tolist() if isinstance(given, (Tensor, np.ndarray)) else given
    if isinstance(several, (float, int, Fraction)):
        several = [several] * count
    if not isinstance(several, (list, tuple)) or len(several) != count:
        raise ValueError(f"The {name} end of t_range must be a number or {count} numbers, not {given!r}.")
    for end in several:
        if not isinstance(end, (float, int, Fraction)) or end != end:
            raise ValueError(f"The {name} end of t_range must be made of numbers or ±inf, not {end!r}.")
    return [Point.of(end) for end in several]
