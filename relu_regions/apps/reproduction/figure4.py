"""Figure 4: densities of pairwise intervals on MNIST at 784, 196 and 49 dimensions, real against random labels.

Claims (a), pairwise intervals are nearly the same for real and random labels in high dimension, and (b), the
difference grows as the dimension falls. Also what depends on choices that the paper leaves open, and what its
densities owe to sampling.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from relu_regions.apps.reproduction.densities import Measured, Panel, density_figure, measure, pairs_of
from relu_regions.apps.reproduction.intervals import intervals, lengths
from relu_regions.apps.reproduction.networks import LABELS, Setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers, compare, distances, estimate, of_lengths

__all__ = ["reproduce"]

MAIN = Setup("mnist")

# One choice at a time.
CHOICES = {
    "momentum 0.9, batches of 32, pixels in [0, 1], loss ≤ 0.01": MAIN,
    "no momentum": MAIN.with_training(momentum=0.0),
    "batches of 128": MAIN.with_training(batch_size=128),
    "batches of 10": MAIN.with_training(batch_size=10),
    "stop at zero training errors": MAIN.with_training(target_loss=math.inf),
    "stop at loss ≤ 0.001": MAIN.with_training(target_loss=0.001),
    "pixels standardised": replace(MAIN, standardised=True),
    "first weights within ±0.05, biases 0": MAIN.with_training(initialisation="fixed"),
}


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    panels = [
        Panel("784", "", MAIN, pairs_of(), None),
        Panel("196", "down-sampled by 2", replace(MAIN, factor=2), pairs_of(), 4000),
        Panel("49", "down-sampled by 4", replace(MAIN, factor=4), pairs_of(), 4000),
    ]
    title = "Figure 4: pairwise generalization intervals by dimension, t in [−1, 2]"
    return density_figure(run, "figure4", title, panels, lambda measured: _more(run, measured[0]))


def _more(run: Run, main: Measured) -> Numbers:
    return {
        "choices": [_choice(run, name, setup) for name, setup in CHOICES.items()],
        "sampled": [_sampled(run, main, num) for num in (16, 31, 101)],
    }


def _choice(run: Run, name: str, setup: Setup) -> Numbers:
    """Real against random labels under another choice."""
    measured = measure(run, Panel("choice", name, setup, pairs_of(), 1000))
    result: Numbers = {"choice": name, "lines_of_each_network": len(measured.lines["real"][0])}
    for labels in LABELS:
        members = [member.summary() for member in measured.members[labels]]
        seeds = [
            of_lengths(lengths(column), column["lo"], column["hi"], measured.t_range)
            for column in measured.columns[labels]
        ]
        result[labels] = {
            **{key: estimate([seed[key] for seed in seeds]) for key in ("mean", "never_ends", "below_1", "bump")},
            **{key: [member[key] for member in members] for key in ("epochs", "training_errors", "training_loss")},
            "validation_accuracy": estimate([member["validation_accuracy"] for member in members]),
        }
    return {**result, "real_against_random": compare(measured.lengths("real"), measured.lengths("random"))}


def _sampled(run: Run, main: Measured, num: int) -> Numbers:
    """Intervals of the same networks by sampling, on some of the lines, beside the exact ones."""
    result: Numbers = {"samples_of_each_line": num}
    of_labels = {}
    for labels in LABELS:
        chosen = [
            np.sort(np.random.default_rng([seed, 8]).permutation(len(lines))[: run.pick(1000, 100)])
            for seed, lines in enumerate(main.lines[labels])
        ]
        lines = [given[torch.from_numpy(rows)] for given, rows in zip(main.lines[labels], chosen)]
        models = [member.trained.model() for member in main.members[labels]]
        found = intervals(run, models, lines, f"{num} samples", num=num)
        exact = [
            {key: column[rows] for key, column in columns.items()}
            for columns, rows in zip(main.columns[labels], chosen)
        ]
        errors = [distances(lengths(a), lengths(b)) for a, b in zip(found, exact)]
        of_labels[labels] = [lengths(columns) for columns in found]
        result["lines_of_each_network"] = len(lines[0])
        result[labels] = {
            "mean": estimate([lengths(columns).mean() for columns in found]),
            "mean_error": estimate([(lengths(a) - lengths(b)).mean() for a, b in zip(found, exact)]),
            "missed_exits": estimate(
                [((a["lo"] < b["lo"]) | (a["hi"] > b["hi"])).mean() for a, b in zip(found, exact)]
            ),
            "wasserstein_to_exact": estimate([error["wasserstein"] for error in errors]),
            "distinct_lengths": len(np.unique(np.round(np.concatenate(of_labels[labels]), 9))),
            "distinct_lengths_exact": len(np.unique(np.concatenate([lengths(columns) for columns in exact]))),
        }
    return {**result, "real_against_random": compare(of_labels["real"], of_labels["random"])}
