"""Figure 6: densities of pairwise intervals for other depths: claim (d), the distribution stays roughly the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from relu_regions.apps.reproduction.densities import Measured, Panel, density_figure, pairs_of
from relu_regions.apps.reproduction.networks import LABELS, TRAININGS, main_setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers, compare

__all__ = ["reproduce"]

ARCHITECTURES = {"1×512": (512,), "2×256": (256, 256), "3×128": (128,) * 3, "4×128": (128,) * 4}


def reproduce(run: Run) -> Numbers:
    """Computes the figure, with the main network beside it; writes its JSON and pictures."""
    panels = []
    for name, hidden in ARCHITECTURES.items():
        for training in TRAININGS:
            main = main_setup(run, "mnist", training)
            setup = main if hidden == main.hidden else replace(main.with_training(checkpoints=()), hidden=hidden)
            detail = f"{name} hidden units, {training}"
            panels.append(Panel(f"{name}, {training}", detail, setup, pairs_of()))
    return density_figure(run, "figure6", "Figure 6: pairwise intervals by depth, t in [−1, 2]", panels, _between)


def _between(measured: list[Measured]) -> Numbers:
    """Distances between architectures, seed by seed."""
    of_training = {
        training: dict(zip(ARCHITECTURES, measured[place :: len(TRAININGS)]))
        for place, training in enumerate(TRAININGS)
    }
    return {
        "between_architectures": [
            {
                "name": f"{training}, {labels}, {first} and {second}",
                "training": training,
                "labels": labels,
                "architectures": [first, second],
                **compare(found[first].lengths(labels), found[second].lengths(labels), found[first].full),
            }
            for training, found in of_training.items()
            for labels in LABELS
            for first, second in combinations(ARCHITECTURES, 2)
        ]
    }
