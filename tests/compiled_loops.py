"""What numba compiles for the tests, shared out among the workers of a run before they begin.

numba keeps on disk what it has compiled. Where there is nothing yet, this takes a minute; workers that begin together
need the same loops at the same time, and each would compile all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

import relu_regions as rr

__all__ = ["share_out"]


def share_out() -> None:
    """Compile this worker's share; nothing where there is one process alone."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        own = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        for job in JOBS[own::workers]:
            job()


def _line(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, d = torch.rand(2, 2, *shape, dtype=dtype)
    rr.exact_interval(model.to(dtype).eval(), x, d, dtype=dtype)
    rr.walk(model, x, d, t_range=(-1, 2), dtype=dtype)


def _dense() -> None:
    """Chains of matrices and gates."""
    for dtype in (torch.float64, torch.float32):
        for gate in (nn.ReLU, nn.Hardtanh):
            _line(nn.Sequential(nn.Linear(3, 8), gate(), nn.Linear(8, 8), gate(), nn.Linear(8, 3)), (3,), dtype)


def _convolutions() -> None:
    """Gates one by one, and maxima."""
    for dtype in (torch.float64, torch.float32):
        layers = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 3, 2), nn.Hardtanh(), nn.Flatten()]
        _line(nn.Sequential(*layers, nn.Linear(12, 3)), (1, 8, 8), dtype)


def _planes() -> None:
    layers = [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)]
    x, u, v = torch.rand(3, 1, 1, 6, 6, dtype=torch.float64)
    rr.walk_plane(nn.Sequential(*layers).double().eval(), x, u, v)


# In this order, so that shares of two workers take about as long, and no two compile one loop.
JOBS: list[Callable[[], None]] = [_planes, _dense, _convolutions]
