"""Tables of what goes beyond the paper: breakpoints, predictors and regularisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from relu_regions.apps.reproduction.cells import estimated, number, share, span, table
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["BEYOND"]


def _of_random(rows: Sequence[Numbers]) -> dict[str, str]:
    header = [
        "hidden layers",
        "n",
        "units",
        "breakpoints",
        "by length",
        "by units",
        "theory, θ / π",
        "measured over theory",
    ]
    return {
        "random": table(
            header,
            [
                [
                    row["hidden"],
                    f"{row['breakpoints'][3]:g}",
                    str(row["units"]),
                    estimated(row["breakpoints"], 1),
                    estimated(row["per_length"], 2),
                    *(estimated(row[key]) for key in ("per_unit", "theory_per_unit", "against_theory")),
                ]
                for row in rows
            ],
        )
    }


def _of_trained(rows: Sequence[Numbers]) -> dict[str, str]:
    header = [
        "hidden layers",
        "n",
        "by units, first weights",
        "real labels",
        "random labels",
        "by length, first weights",
        "real labels",
        "random labels",
        "real over first",
        "random over first",
    ]
    stages = ("first weights", "real labels", "random labels")
    return {
        "trained": table(
            header,
            [
                [
                    row["hidden"],
                    f"{row['change_real'][3]:g}",
                    *(estimated(row[stage]["per_unit"]) for stage in stages),
                    *(estimated(row[stage]["per_length"], 2) for stage in stages),
                    *(estimated(row[key], 2) for key in ("change_real", "change_random")),
                ]
                for row in rows
            ],
        )
    }


def _of_ranks(groups: Sequence[Numbers]) -> dict[str, str]:
    names = {
        "mean_interval": "mean interval of training pairs",
        "never_ends": "share of pairs whose interval never ends",
        "margin": "margin, 10th percentile",
        "spectral_margin": "margin over the product of spectral norms",
        "spectral_norm": "product of spectral norms (small)",
        "frobenius_norm": "product of Frobenius norms (small)",
        "path_norm": "path norm (small)",
        "depth": "number of hidden layers (small)",
    }
    header = ["predictor", *(f"{group['name']} (n = {group['number']})" for group in groups)]
    return {
        "ranks": table(
            header, [[words, *(number(group[name], 2) for group in groups)] for name, words in names.items()]
        )
    }


def _of_regularisation(rows: Sequence[Numbers]) -> dict[str, str]:
    header = [
        "setting",
        "epochs",
        "training errors",
        "validation accuracy",
        "mean length",
        "never ends",
        "reaches t = 1",
    ]
    return {
        "regularisation": table(
            header,
            [
                [
                    row["setting"],
                    span(row["epochs"]),
                    span(row["training_errors"]),
                    share(row["validation_accuracy"]),
                    estimated(row["mean"]),
                    share(row["never_ends"]),
                    share(row["reaches_1"]),
                ]
                for row in rows
            ],
        )
    }


BEYOND: dict[str, Callable[[Any], dict[str, str]]] = {
    "regularisation": _of_regularisation,
    "random": _of_random,
    "trained": _of_trained,
    "rank_correlations": _of_ranks,
}
