"""The exact coefficients of a network: every affine step as integer matrices, every gate as integers.

The function analysed is the real-valued network of the float64 coefficients of the steps. A coefficient that is fixed
inside an operation, such as the 1/9 of a mean over nine numbers, is the float64 number that the operation multiplies
by.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from relu_regions.exactness.rational.arithmetic import Matrix, SparseMatrix, SparseVector, dense_matrix, dyadic
from relu_regions.exactness.rational.step_matrices import StepMatrix, step_matrices, transposed
from relu_regions.network.gates import Knots, Maximum, OrderStatistic
from relu_regions.network.network import Network
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.steps import AffineStep, GateStep

__all__ = [
    "ExactAffine",
    "ExactKnots",
    "ExactMaximum",
    "ExactNetwork",
    "ExactOrderStatistic",
    "ExactStep",
    "Piecewise",
]


@dataclass(frozen=True)
class ExactAffine:
    """An affine step: the sum over its inputs of ``matrix @ input / 2**exponent``, and a bias.

    Attributes:
        output, inputs: names of values.
        size: numbers in the output.
        matrices: one for each input.
        exponents: the binary denominator of each matrix.
        bias: entries that are not zero, over ``2**bias_exponent``.
    """

    output: str
    inputs: tuple[str, ...]
    size: int
    matrices: tuple[Matrix, ...]
    exponents: tuple[int, ...]
    bias: SparseVector
    bias_exponent: int


@dataclass(frozen=True)
class Piecewise:
    """An elementwise function in integers: knots in increasing order, and a slope and an offset for each piece."""

    knots: tuple[int, ...]
    slopes: tuple[int, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class ExactKnots:
    """A gate with knots.

    Attributes:
        tables: the function of each unit, or one for all.
        knot_exponent, slope_exponent, offset_exponent: binary denominators of the tables' numbers.
    """

    output: str
    input: str
    size: int
    tables: tuple[Piecewise, ...]
    knot_exponent: int
    slope_exponent: int
    offset_exponent: int

    def input_exponent(self, exponent: int) -> int:
        """The least exponent for inputs, from the given one up, at which knots and offsets are integers."""
        return max(exponent, self.knot_exponent, self.offset_exponent - self.slope_exponent)

    def at(self, exponent: int) -> list[Piecewise]:
        """The function of each unit, or one for all, of an input over ``2**exponent``.

        The output is over ``2**(exponent + slope_exponent)``.
        """
        knot_shift = exponent - self.knot_exponent
        offset_shift = exponent + self.slope_exponent - self.offset_exponent
        return [
            Piecewise(
                tuple(knot << knot_shift for knot in table.knots),
                table.slopes,
                tuple(offset << offset_shift for offset in table.offsets),
            )
            for table in self.tables
        ]


@dataclass(frozen=True)
class ExactMaximum:
    """A maximum gate.

    Attributes:
        windows: for each unit the different inputs that compete, each with its (first) position in the window.
    """

    output: str
    input: str
    size: int
    windows: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class ExactOrderStatistic:
    """A gate of order statistics.

    Attributes:
        windows: for each unit its inputs, each with its position in the window.
        ranks: for each unit how many numbers of its window, in falling order, come before its own.
    """

    output: str
    input: str
    size: int
    windows: tuple[tuple[tuple[int, int], ...], ...]
    ranks: tuple[int, ...]


ExactStep: TypeAlias = ExactAffine | ExactKnots | ExactMaximum | ExactOrderStatistic


@dataclass
class ExactNetwork:
    """A network with the exact coefficients of every step, taken from the float64 ones when first asked for.

    Attributes:
        network: the network as read.
    """

    network: Network

    def __post_init__(self) -> None:
        self.network = self.network.to(torch.float64, "cpu")

    @cached_property
    def steps(self) -> tuple[ExactStep, ...]:
        """Every step in integers.

        Raises:
            UnsupportedOperation: a gate jumps at a knot.
        """
        return tuple(self._exact(step) for step in self.network.steps)

    @cached_property
    def releases(self) -> list[tuple[str, ...]]:
        """For each step, the values that no later step needs."""
        return self.network.releases

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the coefficients of all steps and of how the steps hang together, in hexadecimal."""
        number = {self.network.input_name: 0}
        hashed = hashlib.sha256(repr(("relu_regions network 1", self.network.input_shape)).encode())
        for index, step in enumerate(self.network.steps, 1):
            number[step.output] = index
            reads = tuple(number[name] for name in step.inputs)
            hashed.update(repr((type(step).__name__, reads, step.shape)).encode())
            for part in self._parts(step):
                hashed.update(repr((part.dtype.str, part.shape)).encode())
                hashed.update(np.ascontiguousarray(part).tobytes())
        hashed.update(repr(number[self.network.output_name]).encode())
        return hashed.hexdigest()

    def _exact(self, step: AffineStep | GateStep) -> ExactStep:
        if isinstance(step, AffineStep):
            return self._affine(step)
        if isinstance(step.gate, Knots):
            return _knots(step, step.gate)
        windows = tuple(map(_window, step.gate.windows.tolist()))
        if isinstance(step.gate, OrderStatistic):
            return ExactOrderStatistic(
                step.output, step.inputs[0], step.units, windows, tuple(step.gate.ranks.tolist())
            )
        return ExactMaximum(step.output, step.inputs[0], step.units, windows)

    def _affine(self, step: AffineStep) -> ExactAffine:
        made = [_integer_matrix(coefficients) for coefficients in self._coefficients[step.output]]
        bias, bias_exponent = dyadic(_flat_bias(step))
        return ExactAffine(
            output=step.output,
            inputs=step.inputs,
            size=prod(step.shape),
            matrices=tuple(matrix for matrix, _ in made),
            exponents=tuple(exponent for _, exponent in made),
            bias={row: number for row, number in enumerate(bias) if number},
            bias_exponent=bias_exponent,
        )

    @cached_property
    def _coefficients(self) -> dict[str, list[StepMatrix]]:
        """The matrices of every affine step in float64, one for each input; by the name of the step's output."""
        shapes = {self.network.input_name: self.network.input_shape}
        shapes.update({step.output: step.shape for step in self.network.steps})
        with torch.no_grad():
            return {
                step.output: step_matrices(step, [shapes[name] for name in step.inputs])
                for step in self.network.steps
                if isinstance(step, AffineStep)
            }

    def _parts(self, step: AffineStep | GateStep) -> list[NDArray[np.generic]]:
        """The arrays that define a step, each in one form only."""
        if isinstance(step, AffineStep):
            parts: list[NDArray[np.generic]] = [_flat_bias(step) + 0.0]
            for coefficients in self._coefficients[step.output]:
                starts, columns, entries = _by_rows(coefficients)
                parts += [starts.numpy(), columns.numpy(), entries.numpy()]
            return parts
        if isinstance(step.gate, Maximum):
            return [step.gate.windows.numpy()]
        if isinstance(step.gate, OrderStatistic):
            return [step.gate.windows.numpy(), step.gate.ranks.numpy()]
        return [numbers.numpy() + 0.0 for numbers in (step.gate.knots, step.gate.slopes, step.gate.offsets)]


def _flat_bias(step: AffineStep) -> NDArray[np.float64]:
    if step.bias is None:
        return np.zeros(0)
    bias: NDArray[np.float64] = step.bias.expand(1, *step.shape).reshape(-1).numpy()
    return bias


def _window(row: list[int]) -> tuple[tuple[int, int], ...]:
    first: dict[int, int] = {}
    for position, place in enumerate(row):
        first.setdefault(place, position)
    return tuple((position, place) for place, position in first.items())


def _by_rows(coefficients: StepMatrix) -> tuple[Tensor, Tensor, Tensor]:
    """The entries that are not 0, row by row: where each row begins and the last one ends, their columns, and they."""
    if isinstance(coefficients, np.ndarray):
        coefficients = torch.from_numpy(coefficients).to_sparse()
    (rows, columns), entries = coefficients.indices(), coefficients.values()
    kept = entries != 0
    counts = torch.bincount(rows[kept], minlength=coefficients.shape[0])
    return functional.pad(counts.cumsum(0), (1, 0)), columns[kept], entries[kept]


def _integer_matrix(coefficients: StepMatrix) -> tuple[Matrix, int]:
    if isinstance(coefficients, np.ndarray):
        integers, exponent = dyadic(coefficients)
        rows, columns = coefficients.shape
        return dense_matrix(rows, columns, integers), exponent
    starts, rows, entries = _by_rows(transposed(coefficients))
    integers, exponent = dyadic(entries.numpy())
    return SparseMatrix(starts.tolist(), rows.tolist(), integers), exponent


def _knots(step: GateStep, gate: Knots) -> ExactKnots:
    count = max(numbers.shape[1] for numbers in (gate.knots, gate.slopes, gate.offsets))

    def columns(numbers: Tensor) -> tuple[list[tuple[int, ...]], int]:
        integers, exponent = dyadic(numbers.expand(-1, count).numpy())
        return [tuple(integers[unit::count]) for unit in range(count)], exponent

    (knots, knot_exponent), (slopes, slope_exponent), (offsets, offset_exponent) = (
        columns(numbers) for numbers in (gate.knots, gate.slopes, gate.offsets)
    )
    tables = tuple(Piecewise(*table) for table in zip(knots, slopes, offsets))
    exact = ExactKnots(step.output, step.inputs[0], step.units, tables, knot_exponent, slope_exponent, offset_exponent)
    for table in exact.at(exact.input_exponent(0)):
        for piece, knot in enumerate(table.knots):
            below = table.slopes[piece] * knot + table.offsets[piece]
            if below != table.slopes[piece + 1] * knot + table.offsets[piece + 1]:
                raise UnsupportedOperation(
                    f"{step.origin} jumps at one of its knots: its float64 slopes and offsets do not meet there "
                    "exactly, so it is no continuous function; choose coefficients that do."
                )
    return exact
