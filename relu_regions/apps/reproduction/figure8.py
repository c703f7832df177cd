"""Figure 8: densities of pairwise intervals in the plane, two moons, one class: claim (b) at its lowest dimension."""

from __future__ import annotations

from relu_regions.apps.reproduction.densities import Panel, density_figure, pairs_of
from relu_regions.apps.reproduction.networks import Setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    panels = [Panel("two_moons", "class 0", Setup("two_moons"), pairs_of(0), None)]
    return density_figure(run, "figure8", "Figure 8: pairwise intervals in the plane, t in [−1, 2]", panels)
