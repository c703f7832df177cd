"""Faces in doubt are cut exactly where they are; no plane is walked again as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import backends
from relu_regions.planes import doubts, walk_plane
from tests.models import mlp
from tests.networks import network_of
from tests.oracles.fractions_walk import Layers
from tests.planes.exact_planes import SQUARE
from tests.planes.true_planes import POLYGONS, RELU, assert_true, in_two_inputs, plane_case, row


@pytest.fixture(autouse=True)
def no_plane_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The planes that are walked again as a whole."""
    asked: list[int] = []
    monkeypatch.setattr(walk_plane, "settled", lambda planes, numbers, seconds: asked.extend(numbers) or iter(()))
    yield asked
    assert not asked


def crude_network(seed: int) -> rr.Network:
    """A network of small whole numbers, in which nearly everything ties somewhere."""
    rng, layers, count = Random(seed), list[Any](), 2
    most = rng.choice([1, 1, 2, 3])

    def affine(outputs: int) -> tuple[str, list[list[float]], list[float] | None]:
        weight = [[float(rng.randint(-most, most)) for _ in range(count)] for _ in range(outputs)]
        return "affine", weight, None if rng.random() < 0.4 else [rng.randint(-2, 2) / 2 for _ in range(outputs)]

    for _ in range(rng.randint(1, 3)):
        layers.append(affine(rng.randint(2, 7)))
        count = len(layers[-1][1])
        for _ in range(rng.randint(1, 2)):
            kind = rng.choice(["relu", "relu", "maximum", "maximum", "knots"])
            if kind == "relu":
                layers.append(RELU)
            elif kind == "knots":
                layers.append(("knots", [-0.5, 0.5], [0.0, 1.0, 0.0], [-0.5, 0.0, 0.5]))
            else:
                units, width = rng.randint(1, 5), rng.randint(2, 4)
                layers.append(("maximum", [[rng.randrange(count) for _ in range(width)] for _ in range(units)]))
                count = units
    return network_of([*layers, affine(rng.randint(1, 4))], 2)


def assert_crude(seeds: range) -> None:
    for seed in seeds:
        assert_true(crude_network(seed), row(0, 0), row(1, 0), row(0, 1), POLYGONS[seed % len(POLYGONS)])


def test_networks_of_small_whole_numbers() -> None:
    assert_crude(range(60))


def test_networks_of_small_whole_numbers_by_the_reference() -> None:
    with backends.use("reference"):
        assert_crude(range(500, 520))


@pytest.mark.long
@pytest.mark.parametrize("start", range(1000, 2000, 200))
def test_many_networks_of_small_whole_numbers(start: int) -> None:
    assert_crude(range(start, start + 200))


def test_random_networks() -> None:
    for seed in range(300, 340):
        assert_true(*plane_case(seed), POLYGONS[seed % len(POLYGONS)])


@pytest.mark.parametrize(
    "layers",
    [
        # five inputs of a maximum at one point; in one more window three of them
        [
            ("affine", [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0], [1.0, 1.0]], None),
            ("maximum", [[0, 1, 2, 3, 4], [1, 2, 0]]),
            ("affine", [[1.0, -1.0], [0.5, 1.0]], [-0.25, 0.0]),
        ],
        # two inputs that are equal on an edge, and a third that overtakes both in its middle
        [
            ("affine", [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], None),
            RELU,
            ("maximum", [[1, 0, 2], [0, 1, 2], [2, 1]]),
            ("affine", [[1.0, 1.0, -1.0], [0.0, 1.0, 0.5]], None),
            ("maximum", [[0, 1]]),
        ],
        # maxima over ReLUs of a number and its negative; the maximum and the minimum of the same numbers
        [
            ("affine", [[1.0, 0.25], [-1.0, -0.25], [0.5, -1.0]], [0.1, -0.1, -0.2]),
            RELU,
            ("maximum", [[0, 1, 2], [1, 0], [2, 0]]),
            ("affine", [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.5], [0.25, 1.0, 0.0]], [0.0, 0.0, 0.1]),
            ("maximum", [[0, 1], [1, 2], [2, 0]]),
        ],
    ],
)
def test_maxima_that_tie(layers: Layers, backend: str) -> None:
    assert in_two_inputs(layers).settled.all()


def test_a_maximum_and_a_minimum_of_the_same_numbers() -> None:
    class GroupSort(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(2, 8), nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            for layer in (self.first, self.second):
                a, b = layer(x).chunk(2, 1)
                x = torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)
            return self.last(x)

    torch.manual_seed(0)
    network = rr.Network.from_module(GroupSort().double().eval(), (2,))
    assert_true(network, row(0, 0), row(1, 0), row(0, 1))


def test_a_relu_behind_windows_that_overlap() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(4, 3)).double().eval()
    x, u, v = torch.randn(3, 2, 1, 5, 5, dtype=torch.float64)
    assert_true(rr.Network.from_module(model, (1, 5, 5)), x, u, v)


def test_equal_units_in_a_large_plane() -> None:
    """Doubts of a few faces do not keep the others from being proven by bounds."""
    torch.manual_seed(0)
    model = mlp(2, 24, 24, 3).double().eval()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight[12:16], layer.bias[12:16] = 2 * layer.weight[:4], 2 * layer.bias[:4]
    assert assert_true(rr.Network.from_module(model, (2,)), row(0, 0), row(1, 0), row(0, 1)).settled.all()


def test_what_settling_may_cost(no_plane_as_a_whole: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of([("affine", [[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]], None), RELU], 2)
    asked = network, row(0, 0), row(1, 0), row(0, 1), SQUARE
    with pytest.warns(rr.UnprovenWarning, match="left after 0 seconds"):
        planes = rr.walk_plane(*asked, resolve_seconds=0)
    assert not planes.certain.any() and no_plane_as_a_whole == [0]
    monkeypatch.setattr(doubts, "FACE_PRODUCTS", 10**9)
    with pytest.warns(rr.UnprovenWarning):
        assert not rr.walk_plane(*asked).certain.any()
    assert rr.walk_plane(*asked, resolve="always").settled.all()
    no_plane_as_a_whole.clear()
