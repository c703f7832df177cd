"""Regions as polyhedra that are far longer than wide: right facets, or an error that says so."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from relu_regions.regions.linear_programs import LinearProgram
from relu_regions.regions.polytope import Polytope


def polygon(rng: np.random.Generator, aspect: float) -> tuple[nn.Module, torch.Tensor]:
    """A network with a region that is a polygon around a point, ``aspect`` times longer than wide."""
    count, turned, shift = int(rng.integers(4, 9)), rng.choice([0.0, rng.uniform(0, math.pi)]), rng.normal(size=2)
    angles = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * math.pi / count
    rotation = np.array([[math.cos(turned), -math.sin(turned)], [math.sin(turned), math.cos(turned)]])
    sides = np.stack([np.cos(angles), np.sin(angles)], 1) / [aspect**0.5, aspect**-0.5] @ rotation.T
    lengths = 10.0 ** rng.uniform(-3, 3, (count, 1))
    model = nn.Sequential(nn.Linear(2, count), nn.ReLU(), nn.Linear(count, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(sides * lengths))
        model[0].bias.copy_(torch.from_numpy(-lengths[:, 0] * (rng.uniform(1, 2, count) + sides @ shift)))
    return model, torch.from_numpy(shift)


def facets_in_fractions(region: Polytope) -> list[int]:
    """The rows with two corners of a bounded polygon, each corner exactly."""
    rows = [[Fraction(number) for number in row] for row in region.matrix.tolist()]
    bounds, corners = [Fraction(number) for number in region.bounds.tolist()], set()
    for (one, b), (other, c) in combinations(list(zip(rows, bounds)), 2):
        size = one[0] * other[1] - one[1] * other[0]
        if size:
            corner = (b * other[1] - one[1] * c) / size, (one[0] * c - b * other[0]) / size
            if all(row[0] * corner[0] + row[1] * corner[1] <= bound for row, bound in zip(rows, bounds)):
                corners.add(corner)
    on = [sum(row[0] * x + row[1] * y == bound for x, y in corners) for row, bound in zip(rows, bounds)]
    return [row for row, count in enumerate(on) if count > 1]


@pytest.mark.parametrize(("least", "most", "answered"), [(0, 8, 60), (8, 13, 0)], ids=["long", "too long"])
def test_long_regions_have_their_facets_or_say_that_they_are_too_long(least: float, most: float, answered: int) -> None:
    rng, right, refusals = np.random.default_rng(0), 0, []
    for _ in range(60):
        region = Polytope.at(*polygon(rng, 10 ** rng.uniform(least, most)))
        try:
            found = region.facets.tolist()
        except ValueError as error:
            refusals.append(str(error))
            continue
        assert found == facets_in_fractions(region)
        centre, radius = region.chebyshev()
        assert (region.slack(centre[None]) >= 0.999 * radius * region.matrix.norm(dim=1)).all()
        right += 1
    assert right >= answered
    assert all("ill-shaped" in refusal or "no interior" in refusal for refusal in refusals)


def test_a_strip_of_1e18() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1e-9, 0], [-1e-9, 0], [0, 1e9], [0, -1e9]]))
        model[0].bias.fill_(-1.0)
    region = Polytope.at(model, torch.zeros(2, dtype=torch.float64))
    assert region.chebyshev()[1] == pytest.approx(1e-9)
    assert region.facets.tolist() == [0, 1, 2, 3]


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        LinearProgram(np.array([[math.nan]]), np.array([1.0]))
