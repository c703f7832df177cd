"""What the tests of pictures share."""

from __future__ import annotations

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import relu_regions as rr
from tests.models import mlp

mpl.use("Agg")

__all__ = ["a_path", "new_axes"]


def new_axes() -> Axes:
    return Figure(figsize=(7, 4), layout="constrained").subplots()


def a_path(t_range: tuple[float, float] = (-1.0, 2.0), classes: int = 4, seed: int = 0) -> rr.Path:
    torch.manual_seed(seed)
    model = mlp(5, 12, 12, classes).double().eval()
    for parameter in model.parameters():
        parameter.data *= 2.5
    x, there = torch.randn(2, 1, 5, dtype=torch.float64)
    return rr.walk(model, x, there - x, t_range)[0]
