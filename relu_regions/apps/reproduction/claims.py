"""The paper's claims, each as a number with its interval, its size and a p-value, and the verdict that these carry.

Distributions are compared by one yardstick, `relu_regions.apps.reproduction.statistics.compare`: the Wasserstein-1
distance as a share of the longest possible interval, less that between seeds. The unit is the network. p-values are
corrected for the number of all tests here (Holm, 1979), and verdicts follow from them by rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relu_regions.apps.reproduction.networks import TRAININGS
from relu_regions.apps.reproduction.statistics import (
    Numbers,
    against_0,
    correlations,
    difference,
    estimate,
    holm,
)

__all__ = ["CLAIMS", "EXCESS", "Claim", "Results", "excess", "judged"]

Results = Mapping[str, Any]

# Two conditions as far apart as that many times two seeds are told apart at sight.
FAR = 2.0
# Alike, as a share of the range: a likeness that the interval does not take beyond that.
ALIKE = 0.01
LEVEL = 0.05


@dataclass(frozen=True)
class Groups:
    """Numbers of networks that have nothing in common, not even samples: their means are compared, not their pairs."""

    first: list[float]
    second: list[float]


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
        times: what the ratio is to.
        least: what the interval must lie above for the claim to hold.
    """

    name: str
    paper: str
    measure: str
    figure: str
    likeness: bool
    values: Callable[[Results, str], tuple[list[float] | Groups, float]]
    control: bool = False
    first_screen: bool = True
    times: str = "two seeds"
    least: float = 0.0


def judged(results: Results, claims: Sequence[Claim] | None = None) -> list[Numbers]:
    """Every claim under every way of training: ``value`` with interval, ``n``, ``effect``, p-values and ``verdict``.

    Args:
        results: the JSON of each figure by its name; a claim whose figures are not there has no verdict.
        claims: those that p-values are corrected for together; by default the paper's.
    """
    claims = CLAIMS if claims is None else claims
    rows: list[Numbers] = []
    for claim in claims:
        row: Numbers = {"name": claim.name, "paper": claim.paper, "measure": claim.measure, "figure": claim.figure}
        row |= {"first_screen": claim.first_screen, "times": claim.times}
        for training in TRAININGS:
            try:
                values, ratio = claim.values(results, training)
            except LookupError:
                continue
            row[training] = {**_measured(values), "ratio": ratio}
        rows.append(row)
    _judge(claims, rows)
    return rows


def _measured(values: list[float] | Groups) -> Numbers:
    if isinstance(values, Groups):
        networks = f"{len(values.first)} and {len(values.second)}"
        return {"n": networks, **difference(values.first, values.second)}
    return {"n": str(len(values)), "value": estimate(values), **against_0(values)}


def _judge(claims: Sequence[Claim], rows: Sequence[Numbers]) -> None:
    """Adds corrected p-values and verdicts."""
    entries = [(claim, row[training]) for claim, row in zip(claims, rows) for training in TRAININGS if training in row]
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
    if not positive:
        return "the other way round"
    return "holds" if entry["value"][1] > claim.least else f"positive, not above {claim.least}"


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


def excess(figure: str, panel: str) -> Callable[[Results, str], tuple[list[float], float]]:
    """How much farther apart real and random labels are in a panel than two seeds, by network."""

    def values(results: Results, training: str) -> tuple[list[float], float]:
        found = _against(results, figure, panel.format(training=training))
        return found["by_network"]["excess"], found["ratio"]

    return values


def _between_samples(results: Results, training: str) -> tuple[list[float], float]:
    """How far apart labels are in the share of the way between two samples on which the class holds.

    Nothing here is extrapolation. With real labels that share is nearly 1 in every network: two seeds are such with
    random labels.
    """
    found = _named(results["figure4"]["whole_line"], training)
    real, random = ([seed["share_between"] for seed in found[labels]["seeds"]] for labels in ("real", "random"))
    return _beyond_seeds(real, random, random)


def _beyond_seeds(first: list[float], second: list[float], seeds: list[float]) -> tuple[list[float], float]:
    """Distances of pairs of networks, less those of a network to others of a condition; and how many times these."""
    pairs = [abs(a - b) for a, b in zip(first, second)]
    others = [[abs(a - b) for k, b in enumerate(seeds) if k != place] for place, a in enumerate(seeds)]
    between = [float(np.mean(own)) if own else math.nan for own in others]
    ratio = float(np.mean(pairs) / np.mean(between)) if any(between) else math.nan
    return [pair - own for pair, own in zip(pairs, between)], ratio


def _farther(first: tuple[str, str], second: tuple[str, str]) -> Callable[[Results, str], tuple[list[float], float]]:
    """How much farther apart real and random labels are in the first of two panels, beyond two seeds, by network."""

    def values(results: Results, training: str) -> tuple[list[float], float]:
        far, near = (
            _against(results, figure, panel.format(training=training))["by_network"]["excess"]
            for figure, panel in (first, second)
        )
        return [a - b for a, b in zip(far, near)], math.nan

    return values


def _real_labels_stay(results: Results, training: str) -> tuple[list[float], float]:
    """How far the mean with real labels moves from 784 to 196 inputs, beyond two seeds, as a share of the range."""
    panels = [_named(results["figure4"]["panels"], f"{inputs}, {training}") for inputs in ("784", "196")]
    full = panels[0]["t_range"][1] - panels[0]["t_range"][0]
    high, low = ([seed["mean"] / full for seed in panel["real"]["seeds"]] for panel in panels)
    return _beyond_seeds(high[: len(low)], low, low)


def _shorter(midlines: tuple[str, str], lines: tuple[str, str]) -> Callable[[Results, str], tuple[list[float], float]]:
    """How much more random labels shorten intervals along midlines, each mean as a share of its range."""

    def values(results: Results, training: str) -> tuple[list[float], float]:
        of_each = []
        for figure, name in (midlines, lines):
            panel = _named(results[figure]["panels"], name.format(training=training))
            full = panel["t_range"][1] - panel["t_range"][0]
            given = panel["real_against_random"]["by_network"]["mean_difference"]
            of_each.append([-each / full for each in given])
        return [a - b for a, b in zip(*of_each)], math.nan

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


def _mnist_above(results: Results, training: str) -> tuple[Groups, float]:
    """Networks on different data share nothing: there are no pairs of them."""
    of_each = (_pearson(results, f"{data}, {training}, real", "validation_accuracy") for data in ("mnist", "cifar10"))
    return Groups(*of_each), math.nan


# What is correlated, over the epochs of a network's training.
Pair = tuple[str, str]
FOLLOWS_VALIDATION: Pair = ("mean_interval", "validation_accuracy")
FOLLOWS_TRAINING: Pair = ("mean_interval", "training_accuracy")
FOLLOWS_EPOCH: Pair = ("mean_interval", "epoch")
EPOCH_FOLLOWS_VALIDATION: Pair = ("epoch", "validation_accuracy")


def _rather(data: str, first: Pair, second: Pair) -> Callable[[Results, str], tuple[list[float], float]]:
    """How much larger the first correlation is than the second, with real labels."""

    def values(results: Results, training: str) -> tuple[list[float], float]:
        of_each = (
            _pearson(results, f"{data}, {training}, real", target, measure) for measure, target in (first, second)
        )
        return [a - b for a, b in zip(*of_each)], math.nan

    return values


def _logarithms(results: Results, figure: str, labels: str, training: str, family: str = "normal") -> list[float]:
    """Of each network: how many times more the logit varies along a direction than along the tangent, log2."""
    other, tangent = (
        _named(results[figure]["families"], f"{name}, {labels}, {training}")["by_seed"] for name in (family, "tangent")
    )
    return [float(np.log2(a["variation"] / b["variation"])) for a, b in zip(other, tangent)]


def _across(family: str) -> Callable[[Results, str], tuple[list[float], float]]:
    return lambda results, training: (_logarithms(results, "figure2", "real", training, family), math.nan)


def _no_tangent(results: Results, training: str) -> tuple[list[float], float]:
    """With random labels; 0 where the tangent is a direction like the normal one."""
    values = _logarithms(results, "figure3", "random", training)
    return values, float(2 ** np.mean(values))


def _random_less(results: Results, training: str) -> tuple[list[float], float]:
    real = _logarithms(results, "figure2", "real", training)
    random = _logarithms(results, "figure3", "random", training)
    return [a - b for a, b in zip(real, random)], math.nan


EXCESS = "distance of real from random labels"
FARTHER = "that distance, {} less {}"
SHORTER = "shortening by random labels, midlines less pairs"
CONTROL = "(a control)"
RATHER = "r with training less with validation accuracy"
EPOCH = "r with validation accuracy, mean interval less epoch"
TIME = "r with training accuracy less with epoch"
PEARSON = "r with {} accuracy over training"
WELL = 0.7

CLAIMS = (
    Claim(
        "(a) MNIST", "“almost similar … for both real and random labels”", EXCESS, "4", True,
        excess("figure4", "784, {training}"),
    ),
    Claim(
        "(a) MNIST, between the samples", "the same",
        "the same, of the share of the way on which the class holds", "4", True,
        _between_samples,
    ),
    Claim("(a) CIFAR-10", "“similar behavior”", EXCESS, "7", True, excess("figure7", "{training}")),
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
        "(b) real labels stay", "with real labels densities stay",
        "distance of means at 784 and 196 inputs", "4",
        True, _real_labels_stay,
    ),
    Claim(
        "(c) class 5", "midlines “much smaller” with random labels", SHORTER, "5", False,
        _shorter(("figure5", "midlines of class 5, {training}"), ("figure5", "pairs of class 5, {training}")),
    ),
    Claim(
        "(c) all classes", "the same", SHORTER, "5", False,
        _shorter(("figure5", "midlines of all classes, {training}"), ("figure4", "784, {training}")),
        first_screen=False,
    ),
    Claim(
        "(c) class 5, by distance", "the same", FARTHER.format("midlines", "pairs"), "5", False,
        _farther(("figure5", "midlines of class 5, {training}"), ("figure5", "pairs of class 5, {training}")),
        first_screen=False,
    ),
    Claim(
        "(d) real labels", "with depth “remain roughly the same”",
        "distance of 1×512 from 4×128", "6", True, _depth("real"),
    ),
    Claim(
        "(d) random labels", "the same", "distance of 1×512 from 4×128", "6", True,
        _depth("random"),
    ),
    Claim(
        "(e) MNIST", "“correlate very well with … performance on the validation set”",
        PEARSON.format("validation"), "9", False, _follows("mnist", "real", "validation_accuracy"), least=WELL,
    ),
    Claim(
        "(e) CIFAR-10", "the same", PEARSON.format("validation"), "9", False,
        _follows("cifar10", "real", "validation_accuracy"), first_screen=False, least=WELL,
    ),
    Claim(
        "(e) MNIST above CIFAR-10", "“for the CIFAR-10 dataset is lower”",
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
    *(
        Claim(
            f"(e) control: {name}, {title}", CONTROL, measure, "9", False, _rather(data, first, second), control=True,
            first_screen=False,
        )
        for name, measure, first, second in (
            ("training accuracy", RATHER, FOLLOWS_TRAINING, FOLLOWS_VALIDATION),
            ("training accuracy or epoch", TIME, FOLLOWS_TRAINING, FOLLOWS_EPOCH),
            ("epoch in place of interval", EPOCH, FOLLOWS_VALIDATION, EPOCH_FOLLOWS_VALIDATION),
        )
        for data, title in (("mnist", "MNIST"), ("cifar10", "CIFAR-10"))
    ),
    Claim(
        "(f) towards another class", "changes “much smaller along tangent directions”",
        "log2 of variation, normal over tangent", "2", False, _across("normal"),
    ),
    Claim(
        "(f) minor component", "the same", "the same, component of least variance", "2", False,
        _across("minor"),
    ),
    Claim(
        "(f) random labels", "with random labels no tangent",
        "the same, normal, random labels", "3", True, _no_tangent,
        times="the tangent",
    ),
    Claim(
        "(f) control: real less random labels", CONTROL, "the same, real less random labels", "2, 3", False,
        _random_less, control=True, first_screen=False,
    ),
)  # fmt: skip
