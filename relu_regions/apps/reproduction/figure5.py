"""Figure 5: densities of intervals along midlines, MNIST class 5. Claim (c): they tell real labels from random ones."""

from __future__ import annotations

from relu_regions.apps.reproduction.densities import Panel, density_figure, midlines_of, pairs_of
from relu_regions.apps.reproduction.networks import Setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, with the pairs of the same class beside it; writes its JSON and pictures."""
    panels = [
        Panel("midlines", "midlines of class 5, t in [−2, 3]", Setup("mnist"), midlines_of(5)),
        Panel("pairs", "pairs of class 5, t in [−1, 2]", Setup("mnist"), pairs_of(5)),
    ]
    return density_figure(run, "figure5", "Figure 5: class 5, along midlines and pairs", panels)
