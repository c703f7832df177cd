"""Values with more digits, and differences from such, against the network in fractions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.exactness.error_free import halves
from relu_regions.exactness.judge import balls, carried, differences, digits
from relu_regions.exactness.judge.balls import Ball, Evaluation, Rows
from relu_regions.exactness.judge.differences import DifferenceBounds
from relu_regions.exactness.judge.digits import DigitBounds
from relu_regions.exactness.judge.grids import bits_of, grid_above, on_grid
from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.plan import folded
from relu_regions.network.steps import AffineStep, GateStep, Origin
from tests.networks import network_of
from tests.strategies import FLAVOURS, make_case

POSITION = torch.tensor([[-0.3, 0.1, 0.11], [1.1, 1.3, 1.7], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
PER_BLOCK = 3

Vector = list[Fraction]


class Question(NamedTuple):
    """A network, a line, and what every gate reads at each row."""

    network: rr.Network
    x: Tensor
    d: Tensor
    true: list[dict[int, Vector]]

    @classmethod
    def of(cls, network: rr.Network, x: Tensor, d: Tensor) -> Question:
        rows = [(t, w) for row, w in zip(POSITION.tolist(), WEIGHT.tolist()) for t in row]
        known = {(t, w): truths(network, x, d, t, w) for t, w in set(rows)}
        return cls(network, x, d, [known[row] for row in rows])


class Residual(nn.Module):
    """Two convolutions with batch norms beside another one, or beside the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.own = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        plain = stride == 1 and inputs == outputs
        self.beside = (
            nn.Identity() if plain else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.own(x) + self.beside(x))


class Dense(nn.Module):
    """Concatenated values behind a batch norm that is folded into nothing, an average, and a difference."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([x, torch.relu(self.first(x))], 1)
        made = self.second(nn.functional.leaky_relu(self.norm(both), 0.3))
        pooled = nn.functional.avg_pool2d(made - torch.relu(made), 2)
        return nn.functional.relu6(8 * pooled)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "residual": lambda: nn.Sequential(Residual(2, 2, 1), Residual(2, 3, 2), nn.Flatten(), nn.Linear(12, 4), nn.ReLU()),
    "dense": lambda: nn.Sequential(Dense(), nn.Flatten(), nn.Linear(8, 3), nn.Hardtanh()),
    "pooling": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 2, 2), nn.PReLU(2), nn.Flatten(), nn.Linear(2, 3), nn.ReLU(),
    ),
    "pooled before": lambda: nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), padding="same"), nn.MaxPool2d(3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3),
        nn.ReLU(),
    ),
}  # fmt: skip


@cache
def module_question(name: str, manner: str) -> Question:
    torch.manual_seed(len(name))
    model = MODULES[name]().double().eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                for numbers in (part.weight, part.bias, part.running_mean):
                    numbers.normal_()
                part.running_var.uniform_(0.5, 2)
            if isinstance(part, (nn.Conv2d, nn.Linear)) and manner == "small":
                part.weight[0] *= 1e-9
    x, d = torch.randn(2, 1, 2, 4, 4, dtype=torch.float64)
    if manner == "blank":
        x[..., 2:], d[..., 2:] = 0, 0
    return Question.of(rr.Network.from_module(model, (2, 4, 4)), x, d)


@cache
def questions() -> list[Question]:
    return [
        *chains(),
        *(module_question(name, manner) for name in MODULES for manner in ("ordinary", "small", "blank")),
    ]


def chains() -> Iterator[Question]:
    for number, flavour in enumerate(FLAVOURS):
        gates = [["relu"], ["leaky_relu", "hardtanh"], ["maxout"]][number % 3]
        case = make_case([3, 4, 4, 4, 2], gates, flavour, "gaussian", (-1.0, 2.0), skips=number % 2 > 0, seed=number)
        x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
        yield Question.of(network_of(case.layers, 3), x, d)


def truths(network: rr.Network, x: Tensor, d: Tensor, t: float, weight: float) -> dict[int, Vector]:
    """What every gate reads at a point, or along d without the biases, by the number of the gate."""
    start = [
        Fraction(weight) * Fraction(a) + Fraction(t) * Fraction(b)
        for a, b in zip(x.flatten().tolist(), d.flatten().tolist())
    ]
    values, found = {network.input_name: start}, {}
    for index, step in enumerate(network.steps):
        if isinstance(step, AffineStep):
            made = _biases(step, weight)
            for place, name in enumerate(step.inputs):
                numbers = torch.eye(len(values[name]), dtype=torch.float64).view(-1, *network.shapes[name])
                others = [
                    torch.zeros(len(numbers), *network.shapes[other], dtype=torch.float64) for other in step.inputs
                ]
                others[place] = numbers
                # Of one number alone, so that nothing is rounded.
                for column, value in zip(step.linear(*others).flatten(1).tolist(), values[name]):
                    made = [sum_ + Fraction(a) * value if a else sum_ for sum_, a in zip(made, column)]
            values[step.output] = made
            continue
        found[network.gate_numbers[index]] = numbers_in = values[step.inputs[0]]
        if isinstance(step.gate, Maximum):
            values[step.output] = [max(numbers_in[i] for i in window) for window in step.gate.windows.tolist()]
        else:
            assert isinstance(step.gate, Knots)
            values[step.output] = [_bent(step.gate, unit, z, weight) for unit, z in enumerate(numbers_in)]
    return found


def _biases(step: AffineStep, weight: float) -> Vector:
    if step.bias is None:
        return [Fraction(0)] * math.prod(step.shape)
    return [Fraction(weight) * Fraction(b) for b in step.bias.expand(1, *step.shape).flatten().tolist()]


def _bent(gate: Knots, unit: int, z: Fraction, weight: float) -> Fraction:
    knots, slopes, offsets = ([Fraction(row[unit % len(row)]) for row in part.tolist()] for part in gate.parts)
    piece = sum(z > Fraction(weight) * knot for knot in knots)
    return slopes[piece] * z + Fraction(weight) * offsets[piece]


def share(errors: list[Fraction], radius: list[float]) -> float:
    """The largest error by its radius; infinite where there must be none."""
    largest = 0.0
    for error, bound in zip(errors, radius, strict=True):
        if error and not math.isinf(bound) and not math.isnan(bound):
            largest = max(largest, float(error / Fraction(bound)) if bound else math.inf)
    return largest


def norm_share(errors: list[Fraction], norm: float) -> float:
    whole = sum(error * error for error in errors)
    return float(whole / Fraction(norm) ** 2) ** 0.5 if whole and math.isfinite(norm) else 0.0


class Measured:
    """An evaluation at some rows, its largest errors by their bounds, and the largest bounds by the numbers' sizes."""

    def __init__(self, kind: type[DigitBounds] | type[DifferenceBounds], count: int, question: Question) -> None:
        network, x, d, true = question
        bounds: Evaluation = kind(network, folded(network), x, d, count)
        read, kept = bounds.read, []
        bounds.read = lambda value: (kept.append(value), read(value))[1]  # type: ignore[method-assign]
        self.read, self.carried, self.norms, self.relative = 0.0, 0.0, 0.0, 0.0
        rows = Rows(torch.zeros(len(WEIGHT), dtype=torch.int64), POSITION, WEIGHT)
        for number, _, ball in bounds.through(rows):
            self._compare(kept[-1], ball, [values[number] for values in true])

    def _compare(self, value: carried.Carried | differences.Anchored, ball: Ball, true: list[Vector]) -> None:
        own = value if isinstance(value, carried.Carried) else value.change
        parts = (*own.parts, own.rest) if isinstance(own, carried.Carried) else (own.value,)
        for row, numbers in enumerate(true):
            block = row // PER_BLOCK
            errors = differing(numbers, [ball.value[row]])
            self.read = max(self.read, share(errors, ball.radius[block].tolist()))
            if isinstance(value, differences.Anchored):
                anchor = true[block * PER_BLOCK + PER_BLOCK // 2]
                numbers = [z - start for z, start in zip(numbers, anchor)]
            errors = differing(numbers, [part[row] for part in parts])
            self.carried = max(self.carried, share(errors, own.radius[block].flatten().tolist()))
            self.norms = max(self.norms, norm_share(errors, own.norm[block].item()))
        relative = own.radius.flatten(1) / ball.size.amax(1, keepdim=True)
        self.relative = max(self.relative, float(relative.max()))


def differing(true: Vector, parts: list[Tensor]) -> list[Fraction]:
    """How far sums of floats are from the truth; 0 where they are not finite."""
    sums = zip(*(part.flatten().tolist() for part in parts))
    finite = (sum(map(Fraction, sum_)) if all(map(math.isfinite, sum_)) else None for sum_ in sums)
    return [Fraction(0) if sum_ is None else abs(sum_ - z) for sum_, z in zip(finite, true, strict=True)]


KINDS = [(DigitBounds, 1), (DigitBounds, 2), (DifferenceBounds, 1)]


@pytest.mark.parametrize(("kind", "count"), KINDS)
def test_errors_lie_within_radii_and_norms(kind: type[DigitBounds], count: int) -> None:
    found = [Measured(kind, count, question) for question in questions()]
    for name in ("read", "carried", "norms"):
        assert max(getattr(one, name) for one in found) <= 1
    assert max(one.carried for one in found) > 1e-3


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ["residual", "pooling"])
def test_digits_are_carried_through(name: str, count: int) -> None:
    """Whatever the network does at full precision, batch norms folded or not."""
    relative = Measured(DigitBounds, count, module_question(name, "ordinary")).relative
    assert 0 < relative < 2.0 ** (-53 + 18 - bits_of(count) * count)


@pytest.mark.parametrize(("kind", "count"), KINDS)
def test_bounds_a_thousand_times_too_small_are_noticed(
    kind: type[DigitBounds], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (balls, carried, digits, differences):
        monkeypatch.setattr(part, "UNIT", part.UNIT / 1000)
    found = [Measured(kind, count, question) for question in questions()]
    assert max(one.carried for one in found) > 1 and max(one.read for one in found) > 1


def test_numbers_are_cut_exactly() -> None:
    numbers = torch.randn(1000, dtype=torch.float64) * 10.0 ** torch.randint(-20, 20, (1000,))
    for number, high, low in zip(numbers.tolist(), *(part.tolist() for part in halves(numbers))):
        assert Fraction(high) + Fraction(low) == Fraction(number)
        assert all(part.as_integer_ratio()[0].bit_length() <= 26 or part == int(part) for part in (high, low))
    top = numbers.abs()
    grid = grid_above(top, 24)
    assert ((top <= grid * 2.0**24) & (top >= grid * 2.0**23)).all()
    for number, step, near in zip(numbers.tolist(), grid.tolist(), on_grid(numbers, grid).tolist()):
        assert (Fraction(near) / Fraction(step)).denominator == 1
        assert abs(Fraction(near) - Fraction(number)) <= Fraction(step) / 2


def test_what_an_offset_takes_off_has_rounded_before() -> None:
    """A shrunk sum is small, and its rounding that of the sum; the parts here are exact, so that no radius hides it."""
    wide, here, change = 1000.0, 1 / 3, 1000 + torch.rand(1, 64, dtype=torch.float64)
    shrink = Knots.of([-wide, wide], [1, 0, 1], [wide, 0, -wide])
    step = GateStep("made", ("read",), (64,), Origin("", "softshrink"), shrink)
    zero, start = torch.zeros(1, 64, dtype=torch.float64), torch.full((2, 64), here, dtype=torch.float64)
    moved = torch.cat([zero, change])
    read, before = Ball.of(start + moved, zero), Ball.of(start[:1], zero)
    ones = torch.ones(1, dtype=torch.float64)
    made = differences._knots(step, shrink, ones, read, Ball.of(moved, zero), before, Ball.of(zero, zero))
    true = [Fraction(here) + Fraction(number) - 1000 for number in change[0].tolist()]
    errors = differing(true, [made.value[1]])
    assert any(errors) and share(errors, made.radius[0].tolist()) <= 1
