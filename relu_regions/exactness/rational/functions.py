"""Continuous piecewise-linear functions of t in integers: what the values of a network are along a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from relu_regions.exactness.rational.arithmetic import Point, SparseVector
from relu_regions.exactness.rational.coefficients import ExactAffine

__all__ = ["Functions", "Scaled", "affine_image", "apply_affine"]


@dataclass(frozen=True)
class Functions:
    """Several functions of t that bend at the breakpoints of one list.

    With breakpoint k at ``p[k] / q[k]`` in lowest terms, function j is ::

        (intercept[j] + slope[j] t + Σ_k jumps[k][j] max(0, q[k] t − p[k])) / 2**exponent

    Every bend has this form with an integer ``jumps[k][j]``: the pieces on both sides are integer pairs that agree at
    ``p[k] / q[k]``. Writing bends rather than pieces keeps the numbers small, and few for functions that do not change.

    Attributes:
        size: how many functions.
        intercept, slope: in the first region; entries that are zero are left out, also in jumps.
    """

    size: int
    exponent: int
    intercept: SparseVector
    slope: SparseVector
    jumps: list[SparseVector]

    def lifted(self, exponent: int) -> Functions:
        """The same functions over a larger (or the same) power of two."""
        shift = exponent - self.exponent
        if not shift:
            return self
        return replace(
            self,
            exponent=exponent,
            intercept=_shifted(self.intercept, shift),
            slope=_shifted(self.slope, shift),
            jumps=[_shifted(jump, shift) for jump in self.jumps],
        )

    def with_points(self, places: Sequence[int], count: int) -> Functions:
        """The same functions with more breakpoints listed: the old ones are at these places among so many."""
        jumps: list[SparseVector] = [{} for _ in range(count)]
        for place, jump in zip(places, self.jumps):
            jumps[place] = jump
        return replace(self, jumps=jumps)

    def between(self, points: Sequence[Point], start: int, stop: int) -> Functions:
        """The functions between two neighbouring places of a cut: with the breakpoints from start to stop alone."""
        intercept, slope = dict(self.intercept), dict(self.slope)
        for point, jump in zip(points[:start], self.jumps):
            _bend(intercept, slope, point, jump)
        return replace(self, intercept=intercept, slope=slope, jumps=self.jumps[start:stop])

    def bends(self) -> list[list[tuple[int, int]]]:
        """For each function its bends, as (number of the breakpoint, jump) in order."""
        bends: list[list[tuple[int, int]]] = [[] for _ in range(self.size)]
        for k, jump in enumerate(self.jumps):
            for position, number in jump.items():
                bends[position].append((k, number))
        return bends

    def pieces(self, points: Sequence[Point]) -> Iterator[tuple[list[int], list[int]]]:
        """For each region in order, the intercepts and slopes of all functions there."""
        intercept = [self.intercept.get(position, 0) for position in range(self.size)]
        slope = [self.slope.get(position, 0) for position in range(self.size)]
        yield list(intercept), list(slope)
        for point, jump in zip(points, self.jumps):
            for position, number in jump.items():
                intercept[position] -= number * point.numerator
                slope[position] += number * point.denominator
            yield list(intercept), list(slope)


class Scaled(NamedTuple):
    """Vectors of integers over one power of two, ``2**exponent``; entries that are zero are left out."""

    exponent: int
    vectors: list[SparseVector]

    def lifted(self, exponent: int) -> Scaled:
        """The same vectors over a larger (or the same) power of two."""
        shift = exponent - self.exponent
        return Scaled(exponent, [_shifted(vector, shift) for vector in self.vectors]) if shift else self


def apply_affine(step: ExactAffine, inputs: Sequence[Functions]) -> Functions:
    """What an affine step makes of functions that bend at the same breakpoints."""
    given = [Scaled(each.exponent, [each.intercept, each.slope, *each.jumps]) for each in inputs]
    exponent, (intercept, slope, *jumps) = affine_image(step, given, range(1))
    return Functions(step.size, exponent, intercept, slope, jumps)


def affine_image(step: ExactAffine, inputs: Sequence[Scaled], constants: Iterable[int]) -> Scaled:
    """What an affine step makes of vectors, one list of them for each of its inputs.

    Args:
        constants: the places of the vectors to which the bias is added.
    """
    products = [
        Scaled(given.exponent + exponent, matrix.times(given.vectors))
        for matrix, exponent, given in zip(step.matrices, step.exponents, inputs)
    ]
    common = max(step.bias_exponent if step.bias else 0, *(product.exponent for product in products))
    vectors = [_sum(list(summands)) for summands in zip(*(product.lifted(common).vectors for product in products))]
    if step.bias:
        bias = _shifted(step.bias, common - step.bias_exponent)
        for place in constants:
            vectors[place] = _sum([vectors[place], bias])
    return Scaled(common, vectors)


def _shifted(vector: SparseVector, shift: int) -> SparseVector:
    return {position: number << shift for position, number in vector.items()}


def _sum(vectors: list[SparseVector]) -> SparseVector:
    if len(vectors) == 1:
        return vectors[0]
    total = dict(vectors[0])
    for vector in vectors[1:]:
        for position, number in vector.items():
            total[position] = total.get(position, 0) + number
    return {position: number for position, number in total.items() if number}


def _bend(intercept: SparseVector, slope: SparseVector, point: Point, jump: SparseVector) -> None:
    for position, number in jump.items():
        intercept[position] = intercept.get(position, 0) - number * point.numerator
        slope[position] = slope.get(position, 0) + number * point.denominator
