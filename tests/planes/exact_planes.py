"""Planes made of what the exact walk found: the truth in the form of the library's own answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from relu_regions import rational
from relu_regions.lines.plane_batch import PlaneBatch
from relu_regions.planes.planes import Planes
from relu_regions.planes.tiles import PlaneFaces
from tests.models import mlp

__all__ = ["SQUARE", "exact_planes", "of_mlp"]

SQUARE = [(-1, -1), (1, -1), (1, 1), (-1, 1)]


def exact_planes(
    model: Any, x: Tensor, u: Tensor, v: Tensor, polygon: Any = SQUARE
) -> tuple[Planes, list[rational.RationalPlane]]:
    """Planes, and the exact ones that they are made of."""
    batch = PlaneBatch.of(model, x, u, v, polygon)
    exact = rational.walk_plane(model, x, u, v, polygon)
    return Planes.of(batch, [PlaneFaces.of_rational(plane, batch.network) for plane in exact]), exact


def of_mlp(
    count: int, *widths: int, seed: int = 0, polygon: Any = SQUARE
) -> tuple[nn.Module, Planes, list[rational.RationalPlane]]:
    """A chain of linear layers with ReLU between them, and some planes of it."""
    torch.manual_seed(seed)
    model = mlp(*widths).double().eval()
    for parameter in model.parameters():
        parameter.data *= 1.5
    x, u, v = torch.randn(3, count, widths[0], dtype=torch.float64)
    return (model, *exact_planes(model, x, u, v, polygon))
