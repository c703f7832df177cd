"""The door for planes: what is refused, and what is brought to one form."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from relu_regions.lines.plane_batch import PlaneBatch

TRIANGLE = [(0, 0), (1, 0), (0, 1)]
MODEL = nn.Linear(3, 2).eval()


def batch(u: Any = (1.0, 0.0, 0.0), v: Any = (0.0, 0.1, 0.3), polygon: Any = TRIANGLE) -> PlaneBatch:
    return PlaneBatch.of(MODEL, torch.zeros(2, 3), torch.tensor([u]), torch.tensor([v], dtype=torch.float64), polygon)


@pytest.mark.parametrize(
    "polygon",
    [
        TRIANGLE,
        TRIANGLE[::-1],
        [TRIANGLE, [(0, 0.5), (0, 0), (1, 0)]],
        torch.tensor(TRIANGLE),
        torch.tensor([TRIANGLE, TRIANGLE]).double().numpy(),
        [(0, 0), (Fraction(1, 3), 0), (1, 0), (0, 1), (0, Fraction(1, 2))],  # straight corners
    ],
)
def test_polygons_come_one_for_all_or_one_for_each(polygon: Any) -> None:
    found = batch(polygon=polygon)
    assert len(found) == len(found.polygons) == 2
    assert all(isinstance(number, Fraction) for corners in found.polygons for corner in corners for number in corner)


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        ([(0, 0), (1, 0)], "not convex"),
        ([], "not convex"),
        ([(0, 0), (1, 0), (2, 0)], "not convex"),
        ([(0, 0), (1, 0), (0, 1), (0, 0)], "not convex"),  # the first corner again
        ([(0, 0), (2, 0), (1, 0), (0, 1)], "not convex"),  # back along an edge
        ([(0, 0), (2, 0), (0.5, 0.5), (0, 2)], "not convex"),
        ([(0, 0), (1, 1), (1, 0), (0, 1)], "not convex"),  # a bow tie
        ([(math.sin(k * 0.8 * math.pi), math.cos(k * 0.8 * math.pi)) for k in range(5)], "not convex"),
        ([TRIANGLE], "1 polygons for 2 planes"),
        ([TRIANGLE, [(0, 0), (1, 0)]], "not convex in row 1"),
        ([(0, 0, 0), (1, 0, 0), (0, 1, 0)], "pair"),
        ([1, 2, 3], "pair"),
        ([TRIANGLE, 3], "must list corners"),
        ([(0, 0), (1, (0, 0)), (0, 1)], "pair"),
        ([(0, 0), (1, 0), (0, math.inf)], "finite"),
        ([(0, 0), (1, 0), (0, math.nan)], "finite"),
    ],
)
def test_what_is_no_convex_polygon_is_refused(polygon: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        batch(polygon=polygon)


@pytest.mark.parametrize(
    "polygon",
    [3, None, "triangle", {(0, 0), (1, 0), (0, 1)}, [("a", "b"), (1, 0), (0, 1)], torch.eye(3, 2, dtype=torch.cfloat)],
)
def test_what_lists_no_numbers_is_refused(polygon: Any) -> None:
    with pytest.raises(TypeError, match="polygon must list corners"):
        batch(polygon=polygon)


def test_directions_must_span_a_plane() -> None:
    with pytest.raises(ValueError, match="u and v are parallel in row 0 of 2"):
        PlaneBatch.of(
            MODEL, torch.zeros(2, 3), torch.tensor([[0.1, 0.0, 0.3]]), torch.tensor([[-0.2, 0.0, -0.6]]), TRIANGLE
        )
    with pytest.raises(ValueError, match="v is zero in rows 0, 1 of 2"):
        batch(v=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="u has shape"):
        PlaneBatch.of(MODEL, torch.zeros(2, 3), torch.zeros(2, 4), torch.ones(2, 3), TRIANGLE)
    with pytest.raises(ValueError, match="u is not finite"):
        batch(u=(math.inf, 0.0, 0.0))
    with pytest.raises(TypeError, match="v has dtype"):
        PlaneBatch.of(MODEL, torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int64), TRIANGLE)
    # A float apart is not parallel.
    PlaneBatch.of(
        MODEL,
        torch.zeros(1, 3),
        torch.tensor([[0.1, 0.0, 0.3]], dtype=torch.float64),
        torch.tensor([[0.1, 0.0, math.nextafter(0.3, 1)]], dtype=torch.float64),
        TRIANGLE,
    )
