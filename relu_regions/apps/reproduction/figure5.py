"""Figure 5: densities of intervals along midlines, MNIST class 5. Claim (c): they tell real labels from random ones."""

from __future__ import annotations

from relu_regions.apps.reproduction.densities import Panel, density_figure, midlines_of, pairs_of
from relu_regions.apps.reproduction.networks import TRAININGS, main_setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, with the pairs of the same class, and all classes, beside it; writes JSON and pictures."""
    families = {
        "midlines of class 5, t in [−2, 3]": midlines_of(5),
        "pairs of class 5, t in [−1, 2]": pairs_of(5),
        "midlines of all classes, t in [−2, 3]": midlines_of(),
    }
    panels = [
        Panel(
            f"{detail.partition(',')[0]}, {training}",
            f"{detail}, {training}",
            main_setup(run, "mnist", training),
            family,
            1000,
            4,
        )
        for detail, family in families.items()
        for training in TRAININGS
    ]
    return density_figure(run, "figure5", "Figure 5: along midlines and pairs", panels)
