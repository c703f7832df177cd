"""What an exact walk found on one segment: breakpoints as fractions, patterns, and the logits of every region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from relu_regions.exactness.rational.stretch import Flip, Stretch

__all__ = ["RationalPath", "RationalRegion"]


@dataclass(frozen=True)
class RationalPath:
    """The network along one segment, exactly.

    Attributes:
        stretch: the segment at the network's end, in integers.
        output_name: which of its values holds the logits.
    """

    stretch: Stretch
    output_name: str

    @cached_property
    def t(self) -> list[Fraction | float]:
        """Both ends of the range and every breakpoint, in order; infinite ends are floats."""
        return [point.t for point in self.stretch.ends]

    @property
    def breakpoints(self) -> list[Fraction]:
        """The breakpoints alone."""
        return [Fraction(point.numerator, point.denominator) for point in self.stretch.points]

    @cached_property
    def flips(self) -> list[list[Flip]]:
        """For each breakpoint the units that change their piece there, by gate and unit."""
        return [sorted(flips) for flips in self.stretch.flips]

    @property
    def first_patterns(self) -> list[list[int]]:
        """For each gate, the piece of every unit in the first region."""
        return self.stretch.first

    @cached_property
    def regions(self) -> Sequence[RationalRegion]:
        """The regions, in order."""
        logits = self.stretch.values[self.output_name]
        scale, ends = 1 << logits.exponent, self.t
        return [
            RationalRegion(
                path=self,
                number=number,
                interval=(ends[number], ends[number + 1]),
                intercept=tuple(Fraction(numerator, scale) for numerator in intercepts),
                slope=tuple(Fraction(numerator, scale) for numerator in slopes),
            )
            for number, (intercepts, slopes) in enumerate(logits.pieces(self.stretch.points))
        ]

    def outputs_at(self, t: Fraction | float) -> tuple[Fraction, ...]:
        """The logits at a t of the range.

        Raises:
            ValueError: t lies outside of the range or is not finite.
        """
        exact, ends = Fraction(t), self.t
        if not ends[0] <= exact <= ends[-1]:
            raise ValueError(f"t = {t} lies outside of the range from {ends[0]} to {ends[-1]}.")
        return next(region for region in self.regions if exact <= region.interval[1]).outputs_at(exact)

    def patterns(self) -> list[list[list[int]]]:
        """For each region and gate, the piece of every unit."""
        pattern = [list(pieces) for pieces in self.first_patterns]
        result = [[list(pieces) for pieces in pattern]]
        for flips in self.flips:
            for flip in flips:
                pattern[flip.gate][flip.unit] = flip.after
            result.append([list(pieces) for pieces in pattern])
        return result

    def __len__(self) -> int:
        """How many regions."""
        return len(self.stretch.points) + 1

    def __repr__(self) -> str:
        ends = self.stretch.ends
        return f"RationalPath({len(self)} regions, t in [{ends[0].near:.6g}, {ends[-1].near:.6g}])"


@dataclass(frozen=True)
class RationalRegion:
    """One region that a segment crosses.

    Attributes:
        path: the segment.
        number: the region's place on it.
        interval: of t.
        intercept, slope: of the logits, flattened: on the interval they are ``intercept + slope t``.
    """

    path: RationalPath
    number: int
    interval: tuple[Fraction | float, Fraction | float]
    intercept: tuple[Fraction, ...]
    slope: tuple[Fraction, ...]

    @property
    def pattern(self) -> list[list[int]]:
        """For each gate, the piece of every unit."""
        return self.path.patterns()[self.number]

    def outputs_at(self, t: Fraction | float) -> tuple[Fraction, ...]:
        """The region's affine logits at any finite t."""
        exact = Fraction(t)
        return tuple(intercept + slope * exact for intercept, slope in zip(self.intercept, self.slope))

    def __repr__(self) -> str:
        low, high = self.interval
        return f"RationalRegion(t in [{float(low):.6g}, {float(high):.6g}])"
