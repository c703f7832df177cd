"""Planes through three points."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch

from relu_regions import rational
from relu_regions.lines import ranked_tuples
from relu_regions.lines.directions import planes_through, triangles
from tests.models import mlp


def test_the_points_are_the_corners() -> None:
    a, b, c = torch.randn(3, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    x, u, v, polygon = planes_through(a, b.numpy(), c)
    assert polygon == ((0, 0), (1, 0), (0, 1))
    for (s, t), point in zip(polygon, (a, b, c)):
        assert torch.allclose(x + float(s) * u + float(t) * v, point.double(), atol=1e-15)


def test_one_point_serves_many_planes() -> None:
    triangles = planes_through(torch.zeros(1, 3), torch.ones(5, 3), torch.eye(3)[:1])
    assert triangles.x.shape == triangles.u.shape == triangles.v.shape == (5, 3)


@pytest.mark.parametrize("margin", [-0.5, 0.3, 1.0])
def test_a_margin_enlarges_the_triangle_about_its_centre(margin: float) -> None:
    _, _, _, polygon = planes_through(torch.zeros(1, 2), torch.ones(1, 2), torch.eye(2)[:1], margin)
    centre = [sum(corner[k] for corner in polygon) / 3 for k in (0, 1)]
    assert centre == [Fraction(1, 3)] * 2
    for (s, t), (s_before, t_before) in zip(polygon, [(0, 0), (1, 0), (0, 1)]):
        grown = 1 + Fraction(margin)
        assert (s, t) == (centre[0] + grown * (s_before - centre[0]), centre[1] + grown * (t_before - centre[1]))


def test_a_walk_takes_them() -> None:
    torch.manual_seed(0)
    a, b, c = torch.randn(3, 2, 3)
    planes = rational.walk_plane(mlp(3, 5, 2).eval(), *planes_through(a, b, c, margin=1.0))
    assert [plane.polygon.area for plane in planes] == [2, 2]


def test_what_is_refused() -> None:
    point = torch.zeros(1, 2)
    with pytest.raises(TypeError, match="b must be float"):
        planes_through(point, np.zeros((1, 2), dtype=np.uint8), point)
    with pytest.raises(ValueError, match="must have one shape"):
        planes_through(point, point, torch.zeros(1, 3))
    for margin in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match="margin must be"):
            planes_through(point, point, point, margin)


# ---------------------------------------------------------------- of samples


def some_samples() -> tuple[torch.Tensor, torch.Tensor]:
    samples = torch.randn(12, 2, 2, generator=torch.Generator().manual_seed(0))
    return samples, torch.tensor([0, 1, 0, 2, 1, 0, 0, 1, 2, 0, 1, 1])


def test_all_triangles_are_the_sets_of_three_samples_of_a_class() -> None:
    samples, labels = some_samples()
    family = triangles(samples, labels)
    wanted = {rows for rows in combinations(range(12), 3) if len(set(labels[list(rows)].tolist())) == 1}
    found = [tuple(rows) for rows in family.index.tolist()]
    assert len(family) == len(found) == len(set(found)) and set(found) == wanted
    x, u, v, polygon = family.planes
    for number, rows in enumerate(found):
        for (s, t), row in zip(polygon, rows):
            assert torch.allclose(x[number] + float(s) * u[number] + float(t) * v[number], samples[row].double())


def test_some_triangles_are_drawn_without_replacement_and_batched() -> None:
    samples, labels = some_samples()
    whole = {tuple(rows) for rows in triangles(samples, labels, classes=[1, 0]).index.tolist()}
    family = triangles(samples, labels, classes=[1, 0], number=15, seed=3, margin=0.5)
    assert len(family) == 15 and len({tuple(rows) for rows in family.index.tolist()} & whole) == 15
    batches = list(family.batches(4))
    assert [len(batch.x) for batch in batches] == [4, 4, 4, 3]
    assert torch.equal(torch.cat([batch.u for batch in batches]), family.planes.u)
    assert batches[0].polygon == planes_through(samples[:1], samples[1:2], samples[2:3], 0.5).polygon
    assert torch.equal(family[-1].index, family.index[14:]) and torch.equal(family[2:4].planes.x, family.planes.x[2:4])
    assert repr(family) == "TrianglesOfSamples(number=15, shape=(2, 2), margin=0.5)"


def test_a_large_class_has_triangles_that_are_never_all_made() -> None:
    samples = torch.arange(40000.0)[:, None]
    family = triangles(samples, torch.zeros(40000, dtype=torch.int64), number=100)
    assert len({tuple(rows) for rows in family.index.tolist()}) == 100
    assert (family.index.diff(dim=1) > 0).all() and family.index.max() > 30000


@pytest.mark.parametrize(("size", "length"), [(7, 3), (5, 2), (4, 4), (6, 1)])
def test_sets_come_by_rank(size: int, length: int) -> None:
    family = ranked_tuples.combinations(np.arange(size), length)
    listed = [tuple(rows) for rows in family.unrank(np.arange(family.size)).tolist()]
    assert listed == sorted(combinations(range(size), length), key=lambda rows: rows[::-1])


def test_triangles_that_span_no_plane_are_left_out_and_what_is_wrong_is_refused() -> None:
    samples, labels = some_samples()
    samples[2] = samples[0]
    assert not any({0, 2} <= set(rows) for rows in triangles(samples, labels).index.tolist())
    with pytest.raises(ValueError, match="two corners that are equal"):
        triangles(torch.ones(3, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="there are no triangles"):
        triangles(samples, labels, classes=[2])
    with pytest.raises(ValueError, match="number=21 triangles, there are 20"):
        triangles(samples, torch.arange(12) // 6, classes=[1], number=21)
    with pytest.raises(ValueError, match="margin must be"):
        triangles(samples, labels, margin=-1)
    with pytest.raises(ValueError, match="at least one triangle"):
        triangles(samples, labels).batches(0)
    with pytest.raises(IndexError, match="triangle 1000 of"):
        triangles(samples, labels)[1000]
