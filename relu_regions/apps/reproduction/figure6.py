"""Figure 6: densities of pairwise intervals for other depths: claim (d), the distribution stays roughly the same."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from relu_regions.apps.reproduction.densities import Measured, Panel, density_figure, pairs_of
from relu_regions.apps.reproduction.networks import LABELS, Setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers, distances

__all__ = ["reproduce"]

ARCHITECTURES = {"1×512": (512,), "2×256": (256, 256), "3×128": (128,) * 3, "4×128": (128,) * 4}


def reproduce(run: Run) -> Numbers:
    """Computes the figure, with the main network beside it; writes its JSON and pictures."""
    panels = [
        Panel(name, f"{name} hidden units", Setup("mnist", hidden=hidden), pairs_of())
        for name, hidden in ARCHITECTURES.items()
    ]
    return density_figure(run, "figure6", "Figure 6: pairwise intervals by depth, t in [−1, 2]", panels, _between)


def _between(measured: list[Measured]) -> Numbers:
    """Distances between architectures, all seeds together."""
    return {
        "between_architectures": {
            labels: [
                {
                    "architectures": [first.panel.name, second.panel.name],
                    **distances(np.concatenate(first.lengths(labels)), np.concatenate(second.lengths(labels))),
                }
                for first, second in combinations(measured, 2)
            ]
            for labels in LABELS
        }
    }
