"""How ‖W_x‖_∞ / ‖W‖_∞ is distributed: over random inputs, over data, and by length along segments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from norm_bounds.networks import State
from relu_regions.lines.directions import pairs
from relu_regions.network.arrays import Floats
from relu_regions.regions.lipschitz_bounds import factor_needed
from relu_regions.regions.norms import norms_at
from relu_regions.walking.walker import walk

__all__ = ["SOURCES", "Ratios", "ratios"]

SOURCES = ("random inputs", "training data", "validation data", "segments, by length")
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Ratios:
    """One distribution.

    Attributes:
        source: one of SOURCES.
        values: ‖W_x‖_∞ / ‖W‖_∞, (R,).
        weights: (R,), lengths of regions along segments, 1 for points.
    """

    source: str
    values: Floats
    weights: Floats

    def share(self, low: float, high: float) -> float:
        """Of ratios from low to high."""
        inside = (self.values >= low) & (self.values <= high)
        return float(self.weights[inside].sum() / self.weights.sum())

    def summary(self) -> dict[str, Any]:
        """Quantiles, the K of 99 %, and how much lies above 1 and about 1."""
        return {
            "source": self.source,
            "number": len(self.values),
            "least": float(self.values.min()),
            "largest": float(self.values.max()),
            "quantiles": {str(q): factor_needed(self.values, q, self.weights) for q in QUANTILES},
            "K_of_99_percent": factor_needed(self.values, 0.99, self.weights),
            "share_above_1": 1 - self.share(0, 1),
            "share_within_factor_2": self.share(1 / 2, 2),
            "share_within_factor_10": self.share(1 / 10, 10),
        }


def ratios(state: State, points: int, segments: int) -> list[Ratios]:
    """All four distributions of a network.

    Random inputs are uniform in [0, 1]^n; segments lead from one training sample to another of its class, t from -1
    to 2, and a region counts by its length.

    Args:
        points: how many, at most, of each kind of point.
        segments: how many.
    """
    generator = torch.Generator().manual_seed(state.seed)
    data = state.data
    uniform = torch.rand(points, data.x_train.shape[1], generator=generator, dtype=torch.float64)
    found = []
    for source, x in zip(SOURCES, (uniform, data.x_train, data.x_test)):
        chosen = torch.randperm(len(x), generator=generator)[:points]
        values = norms_at(state.network, x[chosen].double(), math.inf) / state.linear
        found.append(Ratios(source, values.numpy(), np.ones(len(values))))
    lines = pairs(data.x_train, data.y_train, number=segments, seed=state.seed)
    values, weights = [], []
    for batch in lines.batches(10):
        paths = walk(state.network, batch.x, batch.d, batch.t_range, resolve="never", progress=False)
        shares = paths.t[paths.region_rows + 1] - paths.t[paths.region_rows]
        lengths = batch.d.norm(dim=1).repeat_interleave(paths.region_counts)
        values.append((paths.norms(math.inf) / state.linear).numpy())
        weights.append((shares * lengths).numpy())
    return [*found, Ratios(SOURCES[3], np.concatenate(values), np.concatenate(weights))]
