"""The paper's claims, each as a number with its interval, its size and a p-value, and the verdict that these carry.

Distributions are compared by one yardstick, `relu_regions.apps.reproduction.statistics.compare`: the Wasserstein-1
distance as a share of the longest possible interval, for claims of likeness less that between seeds. The unit is the
network. p-values are corrected for the number of all tests here (Holm, 1979), and verdicts follow from them by rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from relu_regions.apps.reproduction.networks import TRAININGS
from relu_regions.apps.reproduction.statistics import Numbers, against_0, correlations, estimate, holm

__all__ = ["CLAIMS", "judged"]

Results = Mapping[str, Any]

# Two conditions as far apart as that many times two seeds are told apart at sight.
FAR = 2.0
# Alike, as a share of the range: a likeness that the interval does not take beyond that.
ALIKE = 0.01
LEVEL = 0.05


@dataclass(frozen=True)
class Claim:
    """One thing that the paper says, and the number that decides it.

    Attributes:
        name: the paper's claim and, where one number is not enough, which part of it.
        paper: its words.
        measure: what the number is.
        figure: where the paper shows it.
        likeness: whether the claim is that a number is 0; otherwise that it is positive.
        values: the number of each network, of one way of training; and how many times two seeds' distance, or NaN.
        control: not of the paper, but what tells whether its claim means what it seems to.
        first_screen: whether it stands in the table that a reader sees first.
    """

    name: str
    paper: str
    measure: str
    figure: str
    likeness: bool
    values: Callable[[Results, str], tuple[list[float], float]]
    control: bool = False
    first_screen: bool = True


def judged(results: Results) -> list[Numbers]:
    """Every claim under every way of training: ``value`` with interval and n, ``effect``, p-values and ``verdict``.

    Args:
        results: the JSON of each figure by its name; a claim whose figures are not there has no verdict.
    """
    rows: list[Numbers] = []
    for claim in CLAIMS:
        row: Numbers = {"name": claim.name, "paper": claim.paper, "measure": claim.measure, "figure": claim.figure}
        row["first_screen"] = claim.first_screen
        for training in TRAININGS:
            try:
                values, ratio = claim.values(results, training)
            except LookupError:
                continue
            row[training] = {"value": estimate(values), "ratio": ratio, **against_0(values)}
        rows.append(row)
    _judge(rows)
    return rows


def _judge(rows: Sequence[Numbers]) -> None:
    """Adds corrected p-values and verdicts."""
    entries = [(claim, row[training]) for claim, row in zip(CLAIMS, rows) for training in TRAININGS if training in row]
    corrected = holm([entry["p"] if math.isfinite(entry["p"]) else 1.0 for _, entry in entries])
    for (claim, entry), p_holm in zip(entries, corrected):
        entry["p_holm"] = p_holm
        entry["verdict"] = _verdict(claim, entry)


def _verdict(claim: Claim, entry: Numbers) -> str:
    decided, positive = entry["p_holm"] < LEVEL, entry["value"][0] > 0
    if claim.likeness:
        if decided and positive:
            return "does not hold" if entry["ratio"] >= FAR else "a small difference"
        return "holds" if entry["value"][2] < ALIKE else "not decided"
    if claim.control:
        return "shown" if decided and positive else "not shown"
    if not decided:
        return "not decided"
    return "holds" if positive else "the other way round"


# ---------------------------------------------------------------- the number of each claim


def _named(rows: Sequence[Numbers], name: str) -> Numbers:
    """The row of that name.

    Raises:
        LookupError: there is none.
    """
    found = [row for row in rows if row["name"] == name]
    if not found:
        raise LookupError(f"no {name!r} among {[row['name'] for row in rows]}")
    return found[0]


def _against(results: Results, figure: str, panel: str) -> Numbers:
    found: Numbers = _named(results[figure]["panels"], panel)["real_against_random"]
    return found


def _excess(figure: str, panel: str) -> Callable[[Results, str], tuple[list[float], float]]:
    def values(results: Results, training: str) -> tuple[list[float], float]:
        found = _against(results, figure, panel.format(training=training))
        return found["by_network"]["excess"], found["ratio"]

    return values


def _between_samples(results: Results, training: str) -> tuple[list[float], float]:
    """How much more of the way between two samples the class holds with real labels: nothing here is extrapolation."""
    found = _named(results["figure4"]["whole_line"], training)
    real, random = ([seed["share_between"] for seed in found[labels]["seeds"]] for labels in ("real", "random"))
    seeds = [abs(a - b) for column in (real, random) for a, b in combinations(column, 2)]
    values = [a - b for a, b in zip(real, random)]
    return values, float(np.mean(values) / np.mean(seeds)) if any(seeds) else math.nan


def _farther(first: tuple[str, str], second: tuple[str, str]) -> Callable[[Results, str], tuple[list[float], float]]:
    """How much farther apart real and random labels are in the first of two panels, network by network."""

    def values(results: Results, training: str) -> tuple[list[float], float]:
        far, near = (
            _against(results, figure, panel.format(training=training))["by_network"]["wasserstein_share"]
            for figure, panel in (first, second)
        )
        return [a - b for a, b in zip(far, near)], math.nan

    return values


def _depth(labels: str) -> Callable[[Results, str], tuple[list[float], float]]:
    def values(results: Results, training: str) -> tuple[list[float], float]:
        found = _named(results["figure6"]["between_architectures"], f"{training}, {labels}, 1×512 and 4×128")
        return found["by_network"]["excess"], found["ratio"]

    return values


def _pearson(results: Results, panel: str, accuracy: str, of: str = "mean_interval") -> list[float]:
    """Of each network: the mean interval and an accuracy, over evenly spaced epochs without the untrained network."""
    seeds = _named(results["figure9"]["panels"], panel)["seeds"]
    return [correlations({"r": seed[of][1:]}, seed[accuracy][1:])["r"]["pearson"] for seed in seeds]


def _follows(data: str, labels: str, accuracy: str) -> Callable[[Results, str], tuple[list[float], float]]:
    def values(results: Results, training: str) -> tuple[list[float], float]:
        return _pearson(results, f"{data}, {training}, {labels}", accuracy), math.nan

    return values


def _mnist_above(results: Results, training: str) -> tuple[list[float], float]:
    """Pairs of a network on each; independent, so that any pairing serves."""
    of_each = (_pearson(results, f"{data}, {training}, real", "validation_accuracy") for data in ("mnist", "cifar10"))
    return [a - b for a, b in zip(*of_each)], math.nan


def _rather_training(data: str) -> Callable[[Results, str], tuple[list[float], float]]:
    """How much closer the mean interval follows training accuracy than validation accuracy."""

    def values(results: Results, training: str) -> tuple[list[float], float]:
        panel = f"{data}, {training}, real"
        of_each = (_pearson(results, panel, f"{which}_accuracy") for which in ("training", "validation"))
        return [a - b for a, b in zip(*of_each)], math.nan

    return values


def _beyond_epoch(data: str) -> Callable[[Results, str], tuple[list[float], float]]:
    """How much closer the mean interval follows validation accuracy than the number of the epoch does."""

    def values(results: Results, training: str) -> tuple[list[float], float]:
        panel = f"{data}, {training}, real"
        of_each = (_pearson(results, panel, "validation_accuracy", of) for of in ("mean_interval", "epoch"))
        return [a - b for a, b in zip(*of_each)], math.nan

    return values


def _logarithms(results: Results, figure: str, labels: str, training: str) -> list[float]:
    """Of each network: how many times more the logit varies along the normal direction than along the tangent, log2."""
    normal, tangent = (
        _named(results[figure]["families"], f"{family}, {labels}, {training}")["by_seed"]
        for family in ("normal", "tangent")
    )
    return [float(np.log2(a["variation"] / b["variation"])) for a, b in zip(normal, tangent)]


def _normal(results: Results, training: str) -> tuple[list[float], float]:
    return _logarithms(results, "figure2", "real", training), math.nan


def _random_less(results: Results, training: str) -> tuple[list[float], float]:
    real = _logarithms(results, "figure2", "real", training)
    random = _logarithms(results, "figure3", "random", training)
    return [a - b for a, b in zip(real, random)], math.nan


EXCESS = "distance of real from random labels, beyond that of two seeds"
FARTHER = "distance of real from random labels, {} less {}"
CONTROL = "(a control, not a claim)"
RATHER = "r with training less r with validation accuracy"
EPOCH = "r with validation accuracy, of mean interval less of number of the epoch"
PEARSON = "Pearson's r of mean interval and {} accuracy over training"

CLAIMS = (
    Claim(
        "(a) MNIST", "pairwise intervals are “almost similar … for both real and random labels”", EXCESS, "4", True,
        _excess("figure4", "784, {training}"),
    ),
    Claim(
        "(a) MNIST, between the samples", "the same",
        "share of the way from 0 to 1 on which the class holds, real less random labels", "4", True, _between_samples,
    ),
    Claim("(a) CIFAR-10", "“similar behavior”", EXCESS, "7", True, _excess("figure7", "{training}")),
    Claim(
        "(b) 784 to 196", "“when the dimension … is higher … the differences are smaller”",
        FARTHER.format("196", "784 inputs"), "4", False,
        _farther(("figure4", "196, {training}"), ("figure4", "784, {training}")),
    ),
    Claim(
        "(b) 196 to 49", "the same", FARTHER.format("49", "196 inputs"), "4", False,
        _farther(("figure4", "49, {training}"), ("figure4", "196, {training}")), first_screen=False,
    ),
    Claim(
        "(c) class 5", "with random labels intervals along midlines are “much smaller”",
        FARTHER.format("midlines", "pairs"), "5", False,
        _farther(("figure5", "midlines of class 5, {training}"), ("figure5", "pairs of class 5, {training}")),
    ),
    Claim(
        "(c) all classes", "the same", FARTHER.format("midlines", "pairs"), "5", False,
        _farther(("figure5", "midlines of all classes, {training}"), ("figure4", "784, {training}")),
        first_screen=False,
    ),
    Claim(
        "(d) real labels", "with the number of layers distributions “remain roughly the same”",
        "distance of 1×512 from 4×128, beyond that of two seeds", "6", True, _depth("real"),
    ),
    Claim(
        "(d) random labels", "the same", "distance of 1×512 from 4×128, beyond that of two seeds", "6", True,
        _depth("random"),
    ),
    Claim(
        "(e) MNIST", "intervals “correlate very well with … performance on the validation set”",
        PEARSON.format("validation"), "9", False, _follows("mnist", "real", "validation_accuracy"),
    ),
    Claim(
        "(e) CIFAR-10", "the same", PEARSON.format("validation"), "9", False,
        _follows("cifar10", "real", "validation_accuracy"), first_screen=False,
    ),
    Claim(
        "(e) MNIST above CIFAR-10", "“the correlation … for the CIFAR-10 dataset is lower”",
        "r on MNIST less r on CIFAR-10", "9", False, _mnist_above,
    ),
    Claim(
        "(e) control: random labels, MNIST", CONTROL, PEARSON.format("training"), "9", False,
        _follows("mnist", "random", "training_accuracy"), control=True,
    ),
    Claim(
        "(e) control: random labels, CIFAR-10", CONTROL, PEARSON.format("training"), "9", False,
        _follows("cifar10", "random", "training_accuracy"), control=True, first_screen=False,
    ),
    Claim(
        "(e) control: training accuracy, MNIST", CONTROL, RATHER, "9", False, _rather_training("mnist"), control=True,
    ),
    Claim(
        "(e) control: training accuracy, CIFAR-10", CONTROL, RATHER, "9", False, _rather_training("cifar10"),
        control=True, first_screen=False,
    ),
    Claim(
        "(e) control: epoch, MNIST", CONTROL, EPOCH, "9", False, _beyond_epoch("mnist"), control=True,
        first_screen=False,
    ),
    Claim(
        "(e) control: epoch, CIFAR-10", CONTROL, EPOCH, "9", False, _beyond_epoch("cifar10"), control=True,
        first_screen=False,
    ),
    Claim(
        "(f) real labels", "“changes are much smaller along tangent directions than along normal directions”",
        "log2 of variation, normal over tangent", "2", False, _normal,
    ),
    Claim(
        "(f) against random labels", "with random labels there is no tangent to approximate",
        "the same, real less random labels", "2, 3", False, _random_less,
    ),
)  # fmt: skip
