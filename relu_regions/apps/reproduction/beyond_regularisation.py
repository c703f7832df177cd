"""Beyond the paper: weight decay, dropout, augmentation and architecture against the mean pairwise interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from relu_regions.apps.reproduction.densities import Panel, measure, pairs_of
from relu_regions.apps.reproduction.intervals import lengths
from relu_regions.apps.reproduction.networks import TITLES, Setup
from relu_regions.apps.reproduction.pictures import new_figure
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers, estimate, of_lengths

__all__ = ["reproduce"]

NAME = "beyond_regularisation"

# Regularised networks need not reach a loss of 0.01: all of this table stop at 0.1, and after 300 epochs.
BASE = Setup("mnist", architecture="perceptron", training={"target_loss": 0.1, "max_epochs": 300})
SETTINGS: dict[str, Setup] = {
    "3×128, plain": BASE,
    "weight decay 0.001": BASE.with_training(weight_decay=0.001),
    "weight decay 0.01": BASE.with_training(weight_decay=0.01),
    "dropout 0.5": replace(BASE, architecture="dropout"),
    "shifts by up to 2 pixels": BASE.with_training(augment=2),
    "maxout, 64-64 of 2 pieces": replace(BASE, architecture="maxout"),
    "convolutions and max pooling": replace(BASE, architecture="cnn"),
}


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    few = replace(run, seeds=min(run.seeds, 3))
    rows = [_row(few, name, setup.with_training(max_epochs=run.pick(300, 30))) for name, setup in SETTINGS.items()]
    title = "Beyond the paper: regularisation, architecture and the mean pairwise interval, real labels"
    figure, (ax,) = new_figure(1, 1, run.title(title), (7.5, 3.6))
    for row in rows:
        ax.plot(row["mean_intervals"], row["validation_accuracies"], "o", markersize=5, label=row["setting"])
    ax.set(xlabel="mean interval of pairs", ylabel="validation accuracy")
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    write_figure(figure, run.out / NAME)
    result = {"figure": NAME, "title": title, "quick": run.quick, "seeds": few.seeds, "regularisation": rows}
    write_json(run.out / f"{NAME}.json", result)
    return result


def _row(run: Run, name: str, setup: Setup) -> Numbers:
    number = 40 if setup.architecture == "cnn" else 500
    measured = measure(run, Panel("regularisation", name, setup, pairs_of(), number), ("real",))
    members = [member.summary() for member in measured.members["real"]]
    seeds = [
        of_lengths(lengths(column), column["lo"], column["hi"], measured.t_range) for column in measured.columns["real"]
    ]
    accuracies: list[Any] = [member["validation_accuracy"] for member in members]
    return {
        "setting": name,
        "samples": TITLES[measured.members["real"][0].data.name],
        "lines_of_each_network": len(measured.lines["real"][0]),
        "epochs": [member["epochs"] for member in members],
        "training_errors": [member["training_errors"] for member in members],
        "validation_accuracy": estimate(accuracies),
        "validation_accuracies": accuracies,
        "mean_intervals": [seed["mean"] for seed in seeds],
        **{key: estimate([seed[key] for seed in seeds]) for key in ("mean", "never_ends", "reaches_1")},
    }
