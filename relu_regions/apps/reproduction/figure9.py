"""Figure 9: mean pairwise interval against training and validation accuracy during training, to its end: claim (e)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from relu_regions.apps.reproduction.densities import pairs_of
from relu_regions.apps.reproduction.intervals import intervals, lengths, subset
from relu_regions.apps.reproduction.modules import FittedModule
from relu_regions.apps.reproduction.networks import LABELS, TITLES, TRAININGS, Member, accuracy, main_setup, networks
from relu_regions.apps.reproduction.pictures import new_figure
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers, correlations, estimate
from relu_regions.apps.reproduction.training import TrainedNetwork

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["correlation_panel", "draw_training", "follow", "reproduce"]

ACCURACIES = ("training_accuracy", "validation_accuracy")
MEASURES = ("mean_interval", "mean_interval_of_right_class", "epoch")


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    panels = []
    for data in ("mnist", "cifar10"):
        for training in TRAININGS:
            # By plain SGD a network on CIFAR-10 takes the time of two with momentum.
            times = 1 if (data, training) == ("cifar10", "plain SGD") else run.pick(2, 1)
            members = networks(replace(run, seeds=run.seeds * times), main_setup(run, data, training))
            for labels in LABELS:
                followed = [follow(run, member, _kept(member.trained), run.pick(200, 20)) for member in members[labels]]
                panels.append(
                    {
                        "name": f"{data}, {training}, {labels}",
                        "data": data,
                        "samples": members["real"][0].data.name,
                        "training": training,
                        "labels": labels,
                        "networks": [member.summary() for member in members[labels]],
                        **correlation_panel(followed),
                    }
                )
    title = "Figure 9: mean pairwise interval and accuracy during training"
    write_figure(draw_training(run.title(title), panels), run.out / "figure9")
    result = {"figure": "figure9", "title": title, "quick": run.quick, "seeds": run.seeds, "panels": panels}
    write_json(run.out / "figure9.json", result)
    return result


def _kept(trained: TrainedNetwork | FittedModule) -> list[int]:
    """The epochs of a network's checkpoints."""
    if not isinstance(trained, TrainedNetwork):
        raise TypeError(f"figure 9 follows perceptrons, whose checkpoints are listed, not {type(trained).__name__}")
    return sorted(trained.checkpoints)


def follow(run: Run, member: Member, epochs: Sequence[int], number: int) -> dict[str, list[float]]:
    """Accuracies, and mean intervals of so many pairs, of one network after epochs of its training.

    The class of an interval is what the network says at t = 0, right or wrong: an untrained network that says the same
    class everywhere has long intervals. So a second mean counts 0 where the class at t = 0 is not the labelled one.
    """
    data = member.data
    lines = subset(pairs_of()(member), number, member.seed)
    models = [member.trained.model(epoch) for epoch in epochs]
    columns = intervals(run, models, [lines] * len(models), f"{data.name}, {member.labels} labels, in training")
    labelled = data.y_train[lines.index[:, 0]].numpy()
    return {
        "epoch": [float(epoch) for epoch in epochs],
        "training_accuracy": [accuracy(model, data.x_train, data.y_train) for model in models],
        "validation_accuracy": [accuracy(model, data.x_test, data.y_test) for model in models],
        "mean_interval": [float(lengths(column).mean()) for column in columns],
        "mean_interval_of_right_class": [
            float(np.where(column["label"] == labelled, lengths(column), 0).mean()) for column in columns
        ],
    }


def correlation_panel(followed: Sequence[dict[str, list[float]]]) -> Numbers:
    """Curves over epochs, and correlations over the epochs of each network with either accuracy.

    Over all epochs and without the untrained network. Of the number of the epoch, too: what merely rises while a
    network trains reaches that.
    """
    result: Numbers = {"seeds": list(followed), "correlations": []}
    result["course"] = {
        name: estimate([value(seed["mean_interval"]) for seed in followed])
        for name, value in (
            ("untrained", lambda curve: curve[0]),
            ("least", min),
            ("last", lambda curve: curve[-1]),
        )
    }
    for target in ACCURACIES:
        for measure in MEASURES:
            for without, first in (("untrained network in", 0), ("untrained network out", 1)):
                found = [
                    correlations({measure: seed[measure][first:]}, seed[target][first:])[measure] for seed in followed
                ]
                kinds = {kind: estimate([seed[kind] for seed in found]) for kind in ("pearson", "spearman")}
                about = {"name": f"{target}, {measure}, {without}", "with": target, "of": measure, "from": without}
                result["correlations"].append({**about, **kinds})
    return result


def draw_training(title: str, panels: Sequence[Numbers]) -> Figure:
    """Accuracies on the left axis, mean intervals on the right one; a line for each network."""
    figure, axes = new_figure(-(-len(panels) // 2), 2, title, (5.6, 2.6))
    handles: dict[str, Artist] = {}
    for ax, panel in zip(axes, panels):
        handles |= _draw(ax, panel)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=2, frameon=False, fontsize="small"
    )
    return figure


_CURVES = {
    "training_accuracy": ("training accuracy", "C2"),
    "validation_accuracy": ("validation accuracy", "C0"),
    "mean_interval": ("mean interval", "C1"),
    "mean_interval_of_right_class": ("the same, 0 where the class is wrong", "C3"),
}


def _draw(ax: Axes, panel: Numbers) -> dict[str, Artist]:
    """Lines for the legend, by name."""
    right = ax.twinx()
    handles: dict[str, Artist] = {}
    for name, (words, colour) in _CURVES.items():
        side = ax if name.endswith("accuracy") else right
        for seed in panel["seeds"]:
            (handles[words],) = side.plot(
                seed["epoch"], seed[name], color=colour, linewidth=0.9, marker=".", markersize=3, alpha=0.7
            )
    ax.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.05), xlim=(0, None))
    of_what = [TITLES[panel["samples"]], panel.get("architecture"), panel.get("training"), f"{panel['labels']} labels"]
    ax.set_title(", ".join(filter(None, of_what)), fontsize="small")
    right.set(ylabel="mean length of the interval", ylim=(0, 3.15))
    return handles
