"""certify(): a proof of a generalization interval, or a counter-example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from jaxtyping import Float
from torch import Tensor

from relu_regions.exactness.rational.arithmetic import Point
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.interval import RationalInterval, interval_on, interval_within
from relu_regions.exactness.rational.paths import RationalPath
from relu_regions.exactness.rational.stretch import Flip
from relu_regions.exactness.rational.walk import ExactLines, ExactModel, walk_between
from relu_regions.intervals.certificates.certificate import (
    Bend,
    Certificate,
    CertificateError,
    Endpoint,
    Number,
    question_digest,
)
from relu_regions.intervals.interval import Interval
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array

__all__ = ["certify"]


def certify(
    model: ExactModel,
    x: Float[Array, " 1 *shape"],
    d: Float[Array, " ..."],
    interval: Interval | RationalInterval,
    decision: Sequence[int] | None = None,
    rounding: float = 1e-9,
) -> Certificate:
    """Prove the generalization interval of one line, or show that it is wrong.

    The interval is computed anew in rational arithmetic; what was given only says how far the class was asked for: to
    an end without a class beyond it, and without limit where a class takes over. It also says where to look: a walk to
    just beyond its ends finds the true ones if they are there, and the line is searched from x outwards if not.

    Args:
        model: as ``relu_regions.rational.walk``.
        x: the point of one line, ``(1, *input_shape)``.
        d: its direction, likewise.
        interval: the interval of this line, from floating-point or rational arithmetic.
        decision: the classes that compete, as for ``relu_regions.exact_interval``.
        rounding: how far a given end may lie from the true one, relative to that where it is beyond ±1. The
            certificate has the exact end and the error of the given one in any case.

    Returns:
        A certificate for ``relu_regions.rational.check``.

    Raises:
        CertificateError: the interval is wrong; with a point where another class is ahead, or the true end.
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    given = _Given(interval)
    lines = ExactLines.of(model, x, d, given.t_range)
    if len(lines.x) != 1:
        raise ValueError(f"A certificate is for one line, but x has {len(lines.x)}; give x[i:i + 1] and interval[i].")
    network, line, (low,), (high,) = lines.network, (lines.x[0], lines.d[0]), lines.low, lines.high
    between = Decision.of(network.network.output_shape, decision)
    found, path = _found(given, network, line, (low, high), between)
    _compare(given, found, network, line, between, rounding)
    x_flat, d_flat = (tuple(map(float, part.reshape(-1).tolist())) for part in line)
    shape, t_range = tuple(line[0].shape), (low.t, high.t)
    first_pattern, bends = _evidence(path or _walked(network, line, found), found)
    return Certificate(
        network=network.digest,
        question=question_digest(shape, x_flat, d_flat, t_range, between.classes),
        input_shape=shape,
        x=x_flat,
        d=d_flat,
        t_range=t_range,
        classes=between.classes,
        label=found.label,
        tied=found.tied,
        lo=Endpoint.at(found.lo, given.floats[0]),
        hi=Endpoint.at(found.hi, given.floats[1]),
        label_lo=found.label_lo,
        label_hi=found.label_hi,
        first_pattern=first_pattern,
        bends=bends,
    )


class _Given:
    """An interval of one line, from either arithmetic.

    Attributes:
        ends: lower and upper end.
        floats: the same where they come from floating-point arithmetic, else None.
        label: the class at x.
        beyond: the classes beyond both ends, -1 for none.
    """

    def __init__(self, interval: Interval | RationalInterval) -> None:
        self.ends: tuple[Number, Number]
        self.floats: tuple[float | None, float | None] = (None, None)
        if isinstance(interval, RationalInterval):
            self.ends = interval.lo, interval.hi
            self.label, self.beyond = interval.label, (interval.label_lo, interval.label_hi)
            return
        if not isinstance(interval, Interval):
            raise TypeError(f"interval must be an Interval or a RationalInterval, not {type(interval).__name__}.")
        if len(interval) != 1:
            raise ValueError(f"A certificate is for one line, but interval has {len(interval)}; give interval[i].")
        lo, hi = interval.lo.item(), interval.hi.item()
        self.ends = _exact(lo), _exact(hi)
        self.label = int(interval.label.item())
        self.beyond = int(interval.label_lo.item()), int(interval.label_hi.item())
        # Where a class takes over beyond all floats, there is none that could be given for the end.
        lower, upper = (math.isinf(end) and beyond >= 0 for end, beyond in zip((lo, hi), self.beyond))
        self.floats = None if lower else lo, None if upper else hi

    @property
    def t_range(self) -> tuple[Number, Number]:
        """How far the class was asked for."""
        lower = self.ends[0] if self.beyond[0] < 0 else -math.inf
        return lower, self.ends[1] if self.beyond[1] < 0 else math.inf


def _exact(end: float) -> Number:
    return Fraction(end) if math.isfinite(end) else end


# ---------------------------------------------------------------- comparing


def _compare(
    given: _Given,
    found: RationalInterval,
    network: ExactNetwork,
    line: tuple[Tensor, Tensor],
    decision: Decision,
    rounding: float,
) -> None:
    """Refuse an interval that is wrong beyond rounding."""
    if given.label != found.label:
        raise CertificateError(f"The class at x is {found.label}, not {given.label}.", t=Fraction(0), label=found.label)
    sides = (("lower", given.ends[0], found.lo, -1), ("upper", given.ends[1], found.hi, 1))
    for (name, end, true, side), claimed, beyond in zip(sides, given.beyond, (found.label_lo, found.label_hi)):
        beyond_floats = isinstance(end, float) and claimed >= 0 and Point.of(true).near == end
        if not (_near(end, true, rounding) or beyond_floats):
            if (end - true) * side > 0:
                t, label = _beyond(network, line, true, end, decision)
                raise CertificateError(
                    f"The {name} end {_shown(end)} is too far out: at t = {_shown(t)} class {label} is ahead of "
                    f"{given.label}; the true end is {_shown(true)}.",
                    t=t, label=label, endpoint=true,
                )  # fmt: skip
            raise CertificateError(
                f"The {name} end {_shown(end)} is too near: the class stays {given.label} up to {_shown(true)}.",
                endpoint=true,
            )
        if claimed != beyond:
            raise CertificateError(
                f"Beyond the {name} end {_shown(true)} lies class {beyond}, not {claimed}.",
                label=beyond, endpoint=true,
            )  # fmt: skip


def _shown(end: Number) -> str:
    return f"{Point.of(end).near}"


def _near(end: Number, true: Number, rounding: float) -> bool:
    if isinstance(end, float) or isinstance(true, float):
        return end == true
    return abs(end - true) <= Fraction(rounding) * max(Fraction(1), abs(true))


def _beyond(
    network: ExactNetwork, line: tuple[Tensor, Tensor], true: Number, end: Number, decision: Decision
) -> tuple[Fraction, int]:
    """A point between the true end and one too far out at which another class is ahead, and that class."""
    x, d = line
    if end < true:
        t, label = _beyond(network, (x, -d), -true, -end, decision)
        return -t, label
    region = walk_between(network, x, d, Point.of(true), Point.of(end)).regions[0]
    # The class falls behind on the whole of the region that begins at the true end.
    t = Fraction(true) + 1 if region.interval[1] == math.inf else Fraction(region.interval[1])
    logits = decision.competing(region.outputs_at(t), Fraction(0))
    return t, max(logits, key=lambda label: logits[label])


# ---------------------------------------------------------------- finding


def _found(
    given: _Given,
    network: ExactNetwork,
    line: tuple[Tensor, Tensor],
    asked: tuple[Point, Point],
    decision: Decision,
) -> tuple[RationalInterval, RationalPath | None]:
    """The true interval, and the walk along all of it if that found it."""
    low, high = (
        end if beyond < 0 else _just_beyond(claimed, side)
        for end, beyond, claimed, side in zip(asked, given.beyond, given.ends, (-1, 1))
    )
    zero = Point(0, 1)
    if low is not None and high is not None and not (zero.order < low.order or high.order < zero.order):
        path = walk_between(network, *line, low, high)
        found = interval_within(path, decision, (given.beyond[0] < 0, given.beyond[1] < 0))
        if found is not None:
            return found, path
    return interval_on(network, *line, *asked, decision), None


def _just_beyond(end: Number, side: int) -> Point | None:
    """A float's width and more beyond an end, None beyond all floats; few digits make the walk to it faster."""
    near = Point.of(end).near if end == end else end
    if not math.isfinite(near):
        return None
    exact = Fraction(near)
    return Point.of(exact + side * (abs(exact) / (1 << 32) or Fraction(1, 1 << 60)))


# ---------------------------------------------------------------- evidence


def _evidence(path: RationalPath, found: RationalInterval) -> tuple[tuple[tuple[int, ...], ...], tuple[Bend, ...]]:
    """The first pattern, and the bends of the interval with those at the ends where a class takes over.

    Args:
        path: along the interval, and beyond those ends.
        found: the interval.
    """
    pattern = [list(pieces) for pieces in path.first_patterns]
    bends: dict[Fraction, tuple[Flip, ...]] = {}
    for end, label in ((found.lo, found.label_lo), (found.hi, found.label_hi)):
        if label >= 0:
            bends[Fraction(end)] = ()
    for t, flips in zip(path.breakpoints, path.flips):
        if found.lo <= t <= found.hi:
            bends[t] = tuple(flips)
        elif t < found.lo:
            for flip in flips:
                pattern[flip.gate][flip.unit] = flip.after
    return tuple(map(tuple, pattern)), tuple(Bend(t, bends[t]) for t in sorted(bends))


def _walked(network: ExactNetwork, line: tuple[Tensor, Tensor], found: RationalInterval) -> RationalPath:
    """A walk along the interval, and beyond the ends where a class takes over."""
    low = _outside(found.lo, -1) if found.label_lo >= 0 else Point.of(found.lo)
    high = _outside(found.hi, 1) if found.label_hi >= 0 else Point.of(found.hi)
    return walk_between(network, *line, low, high)


def _outside(end: Number, side: int) -> Point:
    """A point just beyond an end; a breakpoint in between would cost time, and hardly ever lies so near."""
    exact = Fraction(end)
    return Point.of(exact + side * max(Fraction(1), abs(exact)) / (1 << 60))
