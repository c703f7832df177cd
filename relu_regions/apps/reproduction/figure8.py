"""Figure 8: densities of pairwise intervals in the plane, two moons, one class: claim (b) at its lowest dimension."""

from __future__ import annotations

from relu_regions.apps.reproduction.densities import Panel, density_figure, pairs_of
from relu_regions.apps.reproduction.networks import TRAININGS, Setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    panels = [
        Panel(
            training,
            f"class 0, {training}",
            Setup("two_moons", training={"momentum": momentum}),
            pairs_of(0),
            4000,
        )
        for training, momentum in TRAININGS.items()
    ]
    return density_figure(run, "figure8", "Figure 8: pairwise intervals in the plane, t in [−1, 2]", panels)
