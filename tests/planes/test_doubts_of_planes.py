"""Which planes floats leave in doubt: ties by construction, bounds, and numbers at the ends of the range."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import backends, rational
from relu_regions.backends import plane_reference
from relu_regions.planes.form_bounds import FormBounds
from tests.networks import network_of
from tests.oracles.fractions_walk import Layers
from tests.planes.exact_planes import SQUARE
from tests.planes.true_planes import (
    RELU,
    assert_true,
    in_two_inputs,
    patterns_of,
    plane_case,
    row,
)


@pytest.mark.parametrize(
    "layers",
    [
        # lines of two ReLUs that meet, of which a maximum reads both
        [
            ("affine", [[1.0, 0.25], [0.5, -1.0], [0.25, 0.75]], [0.1, -0.2, 2.0]),
            RELU,
            ("maximum", [[0, 1], [2, 1]]),
            ("affine", [[1.0, -1.0], [0.25, 1.0]], [0.1, -0.1]),
        ],
        # a number and its negative, and a number twice
        [
            ("affine", [[1.0, 0.25], [-1.0, -0.25], [0.5, -1.0]], [0.1, -0.1, -0.2]),
            ("concatenate", [1, 1]),
            RELU,
            ("affine", [[1.0, -1.0, 0.3, 0.2, 0.7, 0.1], [0.25, 1.0, 0.3, 0.1, -0.3, 1.0]], [0.1, -0.1]),
        ],
    ],
)
def test_ties_by_construction(layers: Layers, backend: str) -> None:
    in_two_inputs(layers)


def test_a_concatenated_relu_leaves_no_doubt(backend: str) -> None:
    class Concatenated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(2, 5), nn.Linear(10, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x)
            positive = torch.relu(torch.cat([z, -z], 1))
            again = torch.relu(torch.cat([positive, -positive], 1))[:, 5:15]
            return self.last(torch.relu(self.second(again)))

    torch.manual_seed(0)
    network = rr.Network.from_module(Concatenated().double().eval(), (2,))
    planes = assert_true(network, row(0, 0), row(1, 0), row(0, 1))
    assert not planes.settled.any()


# ---------------------------------------------------------------- bounds


def far_bundle(seed: int) -> tuple[rr.Network, Tensor, Tensor, Tensor]:
    """Four lines that would meet at one point, if a sum of large numbers did not round."""
    rng = Random(seed)
    x, y = 1e6 / 3, 1e6 / 7
    s, t = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
    weight = [[rng.gauss(0, 1), rng.gauss(0, 1)] for _ in range(4)]
    bias = [-(a * (x + s) + b * (y + t)) for a, b in weight]
    return network_of([("affine", weight, bias), RELU], 2), row(x, y), row(1, 0), row(0, 1)


def test_lines_that_nearly_meet_are_settled(backend: str) -> None:
    for seed in range(20):
        # The answer is as exact as floats are of numbers a million times as large.
        assert assert_true(*far_bundle(seed), off=1e-9).settled.all()


def test_bounds_that_are_too_small_are_found_out(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests can fail: bounds a thousand times too small call wrong faces certain."""
    affine = FormBounds.affine
    monkeypatch.setattr(FormBounds, "affine", lambda self, *asked: affine(self, *asked) / 1000)
    wrong = 0
    for seed in range(20):
        case = far_bundle(seed)
        planes = rr.walk_plane(*case, SQUARE)
        (exact,) = rational.walk_plane(*case, SQUARE)
        wrong += set(patterns_of(planes)) != {face.pattern for face in exact.faces}
    assert wrong > 5


# ---------------------------------------------------------------- numbers at the ends of the range


@pytest.mark.parametrize("factor", [1e-320, 1e-300, 1e-160, 1e-30, 1e30, 1e150, 1e300])
def test_weights_of_any_size(factor: float, backend: str) -> None:
    rng = Random(3)
    first = [[factor * rng.gauss(0, 1) for _ in range(2)] for _ in range(4)]
    second = [[rng.gauss(0, 1) for _ in range(4)] for _ in range(3)]
    bias = [factor * rng.gauss(0, 0.3) for _ in range(4)]
    in_two_inputs([("affine", first, bias), RELU, ("affine", second, None), RELU, ("affine", second[:2], None)][:3])


@pytest.mark.parametrize("size", [Fraction(1, 10**100), 1e-40, 1e-12, Fraction(10**9, 3), 1e40, 1e100])
def test_polygons_of_any_size(size: Any, backend: str) -> None:
    network, x, u, v = plane_case(5, ["ordinary"], widths=[2, 6, 5, 2], gates=["relu"], line="gaussian", skips=False)
    assert_true(network, x, u, v, [(0, 0), (size, 0), (0, size)])


def test_narrow_polygons(backend: str) -> None:
    network, x, u, v = plane_case(5, ["ordinary"], widths=[2, 6, 5, 2], gates=["relu"], line="gaussian", skips=False)
    for width in (1e-9, 1e-30, Fraction(1, 10**50)):
        assert_true(network, x, u, v, [(-1, 0), (1, width), (0, 2 * width)])


def test_numbers_that_overflow_are_in_doubt(backend: str) -> None:
    weight = [[1e200, 0.5], [0.25, 1e200], [1.0, -1.0]]
    layers = [("affine", weight, None), RELU, ("affine", [[1e200, -1e200, 1.0], [1.0, 1e200, 1.0]], None)]
    network = network_of(layers, 2)
    planes = rr.walk_plane(network, row(1, 2), row(1, 0), row(0, 1), SQUARE)
    assert planes.certain.all() and planes.settled.all()
    rr.walk_plane(network, row(1, 2), row(1, 0), row(0, 1), SQUARE, resolve="never")


def test_corners_beyond_floats_are_refused() -> None:
    network, x, u, v = plane_case(5, ["ordinary"])
    with pytest.raises(ValueError, match="beyond the range of floats"):
        rr.walk_plane(network, x, u, v, [(0, 0), (10**400, 0), (0, 1)])


@pytest.mark.parametrize("relu", [False, True])
def test_windows_that_overlap_leave_no_doubt(relu: bool, backend: str) -> None:
    torch.manual_seed(2)
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU() if relu else nn.Identity(), nn.MaxPool2d(3, stride=1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    network = rr.Network.from_module(model, (1, 4, 4))
    x, u, v = torch.randn(3, 3, 1, 4, 4, dtype=torch.float64)
    planes = assert_true(network, x, u, v, [(-1, -1), (1, -1), (0.5, 1)])
    assert not planes.settled.any() and planes.face_counts.min() > 10


def test_windows_that_overlap_and_zeros_in_them(backend: str) -> None:
    """Found by a search: on the line between a number and a zero, that number and all zeros go by one name."""

    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(2, 6), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x)
            y = torch.cat([torch.relu(z[:, :2]), z[:, 2:]], 1)
            return self.last(y[:, [4, 1, 4, 4, 4, 3, 1, 5, 0, 3, 0, 0]].view(-1, 3, 4).amax(-1))

    for seed in range(12):
        torch.manual_seed(seed)
        network = rr.Network.from_module(Windows().double().eval(), (2,))
        assert_true(network, row(0, 0), row(2, 0), row(0, 2))


def test_a_plane_whose_parts_do_not_meet_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, u, v = plane_case(5, ["ordinary"], widths=[2, 6, 5, 2], gates=["relu"], line="gaussian", skips=False)

    def each_alone(names: Any, first: int, last: int) -> tuple[Any, Any]:
        return np.arange(last - first), np.arange(first, last)

    with backends.use("reference"):
        assert not rr.walk_plane(network, x, u, v, SQUARE).settled.any()
        monkeypatch.setattr(plane_reference, "number_corners", each_alone)
        assert assert_true(network, x, u, v).settled.all()


def test_determinants_that_overflow_prove_nothing(backend: str) -> None:
    """Two lines that are nearly parallel, with slopes whose products are beyond all floats, and a third close by."""
    size, rng = 2.0**512, Random(0)
    for trial in range(8):
        share = 10.0 ** -rng.uniform(4, 10)
        b1, c1 = size * (1 + share * rng.random()), size * (1 - share * rng.random())
        b2, c2 = b1 * (1 - 3 * share), c1 * (1 + 3 * share)
        s, t = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
        weights, biases = [[b1, c1], [b2, c2]], [-(b1 * s + c1 * t), -(b2 * s + c2 * t)]
        (a1, b, c), (a2, e, f) = (map(Fraction, (bias, *line)) for bias, line in zip(biases, weights))
        if not (det := b * f - e * c):
            continue
        corner = (c * a2 - f * a1) / det, (e * a1 - b * a2) / det
        third = float(corner[1] - corner[0]) + (-1) ** trial * 10.0 ** -rng.uniform(6, 15)
        network = network_of(
            [("affine", [*weights, [1.0, -1.0]], [*biases, third]), RELU, ("affine", [[0.0, 0.0, 1.0]], [10.0])], 2
        )
        assert_true(network, row(0, 0), row(1, 0), row(0, 1), SQUARE)


def test_gates_of_hundreds_of_pieces(backend: str) -> None:
    knots = [(number - 150) / 128 for number in range(300)]
    slopes = [float(number % 2) for number in range(301)]
    offsets = [0.0]
    for knot, before, after in zip(knots, slopes, slopes[1:]):
        offsets.append(offsets[-1] + (before - after) * knot)
    gate = ("knots", knots, slopes, offsets)
    network = network_of([("affine", [[1.0, 0.0]], None), gate, ("affine", [[1.0]], None)], 2)
    planes = rr.walk_plane(network, row(0, 0), row(1, 0), row(0, 1), SQUARE)
    assert planes.certain.all() and planes.patterns()[0].max() == 278
    assert_true(network, row(0, 0), row(2, 0), row(0, 1), SQUARE)


def test_gates_of_more_pieces_than_are_counted_are_refused() -> None:
    wide = nn.Sequential(nn.Linear(2, 40_000), nn.Unflatten(1, (1, -1)), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    with pytest.raises(rr.UnsupportedOperation, match=r"40,000 pieces.*maximum of maxima"):
        rr.walk_plane(wide.double().eval(), row(0, 0), row(1, 0), row(0, 1), SQUARE)


def test_an_interrupted_loop_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python makes a SystemError of Ctrl-C where it comes between a compiled loop's end and its caller."""

    def interrupted(*given: Any) -> None:
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    loops = pytest.importorskip("relu_regions.backends.cpu.plane_knot_loops")
    monkeypatch.setattr(loops, "cut_at_knots", interrupted)
    network, x, u, v = plane_case(0, gates=["relu"])
    with backends.use("compiled"), pytest.raises(KeyboardInterrupt):
        rr.walk_plane(network, x, u, v, SQUARE)
