"""Figure 4: densities of pairwise intervals on MNIST at 784, 196 and 49 dimensions, real against random labels.

Claims (a), pairwise intervals are nearly the same for real and random labels in high dimension, and (b), the
difference grows as the dimension falls. Also what depends on choices that the paper leaves open, and what its
densities owe to sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from relu_regions.apps.reproduction.densities import Measured, Panel, density_figure, measure, pairs_of
from relu_regions.apps.reproduction.intervals import Columns, intervals, lengths, subset
from relu_regions.apps.reproduction.networks import LABELS, TRAININGS, Setup, main_setup
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers, compare, distances, estimate, of_lengths

__all__ = ["reproduce"]

MAIN = Setup("mnist")

# One choice at a time; the first, and no momentum, are the two that the figure shows.
CHOICES = {
    "momentum 0.9, batches of 32, pixels in [0, 1], loss ≤ 0.01": MAIN,
    "batches of 128": MAIN.with_training(batch_size=128),
    "batches of 10": MAIN.with_training(batch_size=10),
    "stop at zero training errors": MAIN.with_training(target_loss=math.inf),
    "stop at loss ≤ 0.001": MAIN.with_training(target_loss=0.001),
    "pixels standardised": replace(MAIN, standardised=True),
    "first weights within ±0.05, biases 0": MAIN.with_training(initialisation="fixed"),
}
FACTORS = {"784": 1, "196": 2, "49": 4}


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    panels = []
    for inputs, factor in FACTORS.items():
        for training in TRAININGS:
            main = main_setup(run, "mnist", training)
            setup = main if factor == 1 else replace(main.with_training(checkpoints=()), factor=factor)
            detail = training if factor == 1 else f"down-sampled by {factor}, {training}"
            panels.append(Panel(f"{inputs}, {training}", detail, setup, pairs_of(), 2000, 4 if factor == 1 else 1))
    title = "Figure 4: pairwise generalization intervals by dimension, t in [−1, 2]"
    return density_figure(run, "figure4", title, panels, lambda measured: _more(run, measured))


def _more(run: Run, measured: Sequence[Measured]) -> Numbers:
    main = dict(zip(TRAININGS, measured))
    return {
        "whole_line": [_whole_line(run, training, of_training) for training, of_training in main.items()],
        "choices": [_choice(run, name, setup) for name, setup in CHOICES.items()],
        "sampled": [_sampled(run, main["momentum 0.9"], num) for num in (16, 31, 101)],
    }


def _whole_line(run: Run, training: str, main: Measured) -> Numbers:
    """The same networks and some of the same lines, t from −∞ to ∞: where the range of t hides how far a class holds.

    What lies between the two samples, t from 0 to 1, is apart from what lies beyond each of them.
    """
    result: Numbers = {"name": training, "unproven": 0}
    for labels in LABELS:
        lines = [
            replace(subset(given, run.pick(1000, 50), seed), t_range=(-math.inf, math.inf))
            for seed, given in enumerate(main.lines[labels])
        ]
        models = [member.trained.model() for member in main.members[labels]]
        found = intervals(run, models, lines, "whole lines")
        result["lines_of_each_network"] = len(lines[0])
        result["unproven"] += sum(int((~columns["certain"]).sum()) for columns in found)
        seeds = [_interpolated_and_beyond(columns) for columns in found]
        result[labels] = {key: estimate([seed[key] for seed in seeds]) for key in seeds[0]}
        result[labels]["seeds"] = seeds
    return result


def _interpolated_and_beyond(columns: Columns) -> Numbers:
    """Numbers of one network's intervals on whole lines."""
    low, high = columns["lo"], columns["hi"]
    reaches = high >= 1
    beyond = high[reaches] - 1
    return {
        "reaches_1": reaches.mean(),
        "share_between": np.minimum(high, 1).mean(),
        "median_before": np.median(-low),
        "median_beyond": np.median(beyond) if len(beyond) else float("nan"),
        "never_ends": (np.isinf(low) & np.isinf(high)).mean(),
        "open_on_one_side": (np.isinf(low) ^ np.isinf(high)).mean(),
        "never_ends_within_range": ((low <= -1) & (high >= 2)).mean(),
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
    compared = compare(measured.lengths("real"), measured.lengths("random"), measured.full)
    return {**result, "real_against_random": compared}


def _sampled(run: Run, main: Measured, num: int) -> Numbers:
    """Intervals of the same networks by sampling, on some of the lines, beside the exact ones."""
    result: Numbers = {"samples_of_each_line": num}
    of_labels = {}
    for labels in LABELS:
        chosen = [
            np.sort(np.random.default_rng([seed, 8]).permutation(len(lines))[: run.pick(1000, 100)])
            for seed, lines in enumerate(main.lines[labels][: run.seeds])
        ]
        lines = [given[torch.from_numpy(rows)] for given, rows in zip(main.lines[labels], chosen)]
        models = [member.trained.model() for member in main.members[labels][: run.seeds]]
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
    return {**result, "real_against_random": compare(of_labels["real"], of_labels["random"], main.full)}
