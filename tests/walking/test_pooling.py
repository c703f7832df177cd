"""Max pooling against a brute-force envelope in fractions: windows of 2×2 to 5×5, overlapping, padded or dilated."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.exactness.resolving import Resolve
from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.reading.operations.registry import OPERATIONS, Call, Value
from relu_regions.network.steps import GateStep, Origin
from tests.oracles.fractions_pooling import Pooling, bends, pooled, size_after, windows

LOW, HIGH = -2, 2
# Two breakpoints of these small numbers are much further apart, or the same.
CLOSE = 1e-9


@st.composite
def layers(draw: st.DrawFn) -> Pooling:
    kernel = draw(st.tuples(st.integers(2, 5), st.integers(2, 5)))
    stride = tuple(draw(st.integers(1, size)) for size in kernel)
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    return Pooling(kernel, stride, padding, dilation, draw(st.booleans()))  # type: ignore[arg-type]


@st.composite
def planes(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Few different numbers, so that pixels are often equal, along the line or at a point."""
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    numbers = st.lists(st.integers(-4, 4), min_size=height * width, max_size=height * width)
    x, d = (torch.tensor(draw(numbers), dtype=torch.float64).view(height, width) / 4 for _ in range(2))
    return x, d


def network(layer: Pooling, shape: tuple[int, ...], relu: bool) -> rr.Network:
    """ReLU and pooling as the reader makes them, without the slow way through torch.export."""
    output = (1, size_after(shape[1], 0, layer), size_after(shape[2], 1, layer))
    before = Value("relu" if relu else "x", shape)
    arguments = (before, *(list(part) for part in layer[:4]), layer.ceil_mode)
    call = Call("pooled", Origin("", "max_pool2d"), torch.ops.aten.max_pool2d.default, arguments, {}, output)
    steps = OPERATIONS["max_pool2d"](call)
    if relu:
        gate = GateStep("relu", ("x",), shape, Origin("", "relu"), Knots.of([0], [0, 1], [0, 0]))
        steps = [gate, *steps]
    return rr.Network(tuple(steps), "x", "pooled", shape, output)


def fractions(plane: Tensor) -> list[list[Fraction]]:
    return [[Fraction(number) for number in row] for row in plane.tolist()]


@settings(max_examples=40, deadline=None)
@given(layers(), planes(), st.booleans(), st.sampled_from([None, 1]), st.sampled_from(["auto", "never"]))
def test_every_bend_of_the_envelope_and_no_other(
    layer: Pooling, plane: tuple[Tensor, Tensor], relu: bool, memory_budget: int | None, resolve: Resolve
) -> None:
    x, d = plane
    assume(d.any() and size_after(len(x), 0, layer) > 0 and size_after(x.shape[1], 1, layer) > 0)
    read = network(layer, (1, *x.shape), relu)
    paths = rr.walk(read, x[None, None], d[None, None], (LOW, HIGH), resolve=resolve, memory_budget=memory_budget)
    path = paths[0]
    exact_x, exact_d = fractions(x), fractions(d)
    expected = bends(exact_x, exact_d, Fraction(LOW), Fraction(HIGH), layer, relu)
    found = path.breakpoints
    truth = torch.tensor([float(t) for t in expected], dtype=torch.float64)
    if resolve == "auto":
        assert paths.certain.all() and len(found) == len(truth)
    # Each true bend is found, and what is found is a true bend, or one that rounding parted in two. Where a line is cut
    # for want of memory, a tie that rounding left open may bend there, unless it is settled.
    assert len(found) == len(truth) == 0 or torch.cdist(found[:, None], truth[:, None]).amin(0).max() < CLOSE
    if resolve == "auto" or memory_budget is None:
        assert len(found) == len(truth) == 0 or torch.cdist(found[:, None], truth[:, None]).amin(1).max() < CLOSE
    for t in [Fraction(LOW), *expected, Fraction(HIGH)]:
        values = torch.tensor(list(map(float, pooled(exact_x, exact_d, t, layer, relu))), dtype=torch.float64)
        assert torch.allclose(
            path.outputs_at(torch.tensor([float(t)], dtype=torch.float64)).flatten(), values, atol=1e-9
        )
    assert_winners_are_largest(path, exact_x, exact_d, layer, relu)


def assert_winners_are_largest(
    path: rr.Path, x: list[list[Fraction]], d: list[list[Fraction]], layer: Pooling, relu: bool
) -> None:
    """In the middle of every region of some width, the pixel that the pattern names is the largest of its window."""
    pixels = windows(len(x), len(x[0]), layer)
    for region in path.regions:
        low, high = region.interval
        if high - low < CLOSE:
            continue
        t = (Fraction(low) + Fraction(high)) / 2
        largest = pooled(x, d, t, layer, relu)
        for window, winner, most in zip(pixels, region.pattern[-1].tolist(), largest):
            row, column = window[winner]
            value = x[row][column] + t * d[row][column]
            assert (max(value, 0) if relu else value) == most


@settings(max_examples=50, deadline=None)
@given(layers(), planes())
def test_windows_are_those_of_torch(layer: Pooling, plane: tuple[Tensor, Tensor]) -> None:
    x = plane[0]
    assume(size_after(len(x), 0, layer) > 0 and size_after(x.shape[1], 1, layer) > 0)
    expected = nn.functional.max_pool2d(x[None, None], *layer)
    read = network(layer, (1, *x.shape), False)
    assert read.output_shape == expected.shape[1:]
    assert torch.equal(read(x[None, None]), expected)
    gate = read.steps[-1].gate
    assert isinstance(gate, Maximum)
    own = [[row * x.shape[1] + column for row, column in window] for window in windows(*x.shape, layer)]
    assert [list(dict.fromkeys(window)) for window in gate.windows.tolist()] == own


@pytest.mark.parametrize("relu", [True, False])
def test_a_window_of_many_zeros(relu: bool) -> None:
    """Several zeros in a window are one region: the maximum of pixels that a ReLU holds at 0 does not bend."""
    layer = Pooling((3, 3), (1, 1), (1, 1), (1, 1), False)
    x = torch.full((3, 3), -1.0, dtype=torch.float64)
    d = torch.zeros(3, 3, dtype=torch.float64)
    x[1, 1], d[1, 1] = -1.0, 1.0
    path = rr.walk(network(layer, (1, 3, 3), relu), x[None, None], d[None, None], (-2, 4))[0]
    assert path.breakpoints.tolist() == ([1.0] if relu else [0.0])
