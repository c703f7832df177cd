"""Figure 7: densities of pairwise intervals on CIFAR-10, real against random labels: claim (a) once more."""

from __future__ import annotations

from relu_regions.apps.reproduction.densities import Panel, density_figure, pairs_of
from relu_regions.apps.reproduction.networks import TRAININGS, main_setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    # With momentum networks of random labels differ much among themselves: it takes more of them.
    panels = [
        Panel(training, training, main_setup(run, "cifar10", training), pairs_of(), repeats=2 if momentum else 1)
        for training, momentum in TRAININGS.items()
    ]
    what = "digits" if run.quick else "colour images"
    return density_figure(run, "figure7", f"Figure 7: pairwise intervals of {what}, t in [−1, 2]", panels)
