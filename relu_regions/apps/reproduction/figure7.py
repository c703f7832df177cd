"""Figure 7: densities of pairwise intervals on CIFAR-10, real against random labels: claim (a) once more."""

from __future__ import annotations

from relu_regions.apps.reproduction.densities import Panel, density_figure, pairs_of
from relu_regions.apps.reproduction.networks import Setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    panels = [Panel("cifar10", "", Setup("cifar10"), pairs_of())]
    return density_figure(run, "figure7", "Figure 7: pairwise intervals of color images, t in [−1, 2]", panels)
