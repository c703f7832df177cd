"""Planes through three points."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from relu_regions import rational
from relu_regions.lines.directions import planes_through
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
