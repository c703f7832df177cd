"""Figure 9: mean pairwise interval against training and validation accuracy during training: claim (e)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from relu_regions.apps.reproduction.densities import pairs_of
from relu_regions.apps.reproduction.intervals import intervals, lengths, subset
from relu_regions.apps.reproduction.networks import LABELS, TITLES, Member, Setup, accuracy, networks
from relu_regions.apps.reproduction.pictures import band, new_figure
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers, correlations, estimate
from relu_regions.exactness.resolving import Resolve

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["correlation_panel", "draw_training", "follow", "reproduce"]

MEASURES = ("mean_interval", "mean_interval_of_right_class")


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    epochs = run.pick(64, 40)
    kept = tuple(sorted({0, *(round(2 ** (step / 2)) for step in range(20))} & set(range(epochs + 1))))
    # Without momentum there is more to see between the first epochs; the few samples of a quick run need it.
    training = {"momentum": 0.9 if run.quick else 0.0, "target_loss": 1e-12, "max_epochs": epochs, "checkpoints": kept}
    panels = []
    for data in ("mnist", "cifar10"):
        members = networks(run, Setup(data, training=training))
        for labels in LABELS:
            followed = [follow(run, member, kept, run.pick(200, 20)) for member in members[labels]]
            panels.append(
                {
                    "data": data,
                    "samples": members["real"][0].data.name,
                    "labels": labels,
                    **correlation_panel(kept, followed),
                }
            )
    title = "Figure 9: mean pairwise interval and accuracy during training"
    write_figure(draw_training(title, panels), run.out / "figure9")
    result = {"figure": "figure9", "title": title, "quick": run.quick, "seeds": run.seeds, "panels": panels}
    write_json(run.out / "figure9.json", result)
    return result


def follow(
    run: Run, member: Member, epochs: Sequence[int], number: int, resolve: Resolve = "auto"
) -> dict[str, list[float]]:
    """Accuracies, and mean intervals of so many pairs, of one network after epochs of its training.

    The class of an interval is what the network says at t = 0, right or wrong: an untrained network that says the same
    class everywhere has long intervals. So a second mean counts 0 where the class at t = 0 is not the labelled one.
    """
    data = member.data
    lines = subset(pairs_of()(member), number, member.seed)
    models = [member.trained.model(epoch) for epoch in epochs]
    columns = intervals(
        run, models, [lines] * len(models), f"{data.name}, {member.labels} labels, in training", resolve=resolve
    )
    labelled = data.y_train[lines.index[:, 0]].numpy()
    return {
        "training_accuracy": [accuracy(model, data.x_train, data.y_train) for model in models],
        "validation_accuracy": [accuracy(model, data.x_test, data.y_test) for model in models],
        "mean_interval": [float(lengths(column).mean()) for column in columns],
        "mean_interval_of_right_class": [
            float(np.where(column["label"] == labelled, lengths(column), 0).mean()) for column in columns
        ],
    }


def correlation_panel(epochs: Sequence[int], followed: Sequence[dict[str, list[float]]]) -> Numbers:
    """Curves over epochs, and the correlation of either mean with either accuracy: over all epochs, and from 1 on."""
    result: Numbers = {"epochs": list(epochs), "seeds": list(followed), "correlations": []}
    for target in ("training_accuracy", "validation_accuracy"):
        for measure in MEASURES:
            for first in (0, 1):
                found = [
                    correlations({measure: seed[measure][first:]}, seed[target][first:])[measure] for seed in followed
                ]
                kinds = {kind: estimate([seed[kind] for seed in found]) for kind in ("pearson", "spearman")}
                result["correlations"].append({"with": target, "of": measure, "from_epoch": epochs[first], **kinds})
    return result


def draw_training(title: str, panels: Sequence[Numbers]) -> Figure:
    """Accuracies on the left axis, mean intervals on the right one; bands are the range over seeds."""
    figure, axes = new_figure(-(-len(panels) // 2), 2, title, (5.6, 3.2))
    for ax, panel in zip(axes, panels):
        handles, names = _draw(ax, panel)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure


def _draw(ax: Axes, panel: Numbers) -> tuple[list[Artist], list[str]]:
    """Handles and names for the legend."""
    epochs = panel["epochs"]
    curves = {name: [seed[name] for seed in panel["seeds"]] for name in panel["seeds"][0]}
    band(ax, epochs, curves["training_accuracy"], "training accuracy", "C2")
    band(ax, epochs, curves["validation_accuracy"], "validation accuracy", "C0")
    ax.set_xscale("symlog", linthresh=1)
    ax.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.05), xlim=(0, epochs[-1]))
    of_what = [TITLES[panel["samples"]], panel.get("architecture"), f"{panel['labels']} labels"]
    ax.set_title(", ".join(filter(None, of_what)), fontsize="small")
    right = ax.twinx()
    band(right, epochs, curves["mean_interval"], "mean interval", "C1")
    band(right, epochs, curves["mean_interval_of_right_class"], "the same, 0 where the class is wrong", "C3")
    right.set(ylabel="mean length of the interval", ylim=(0, 3.15))
    parts = [side.get_legend_handles_labels() for side in (ax, right)]
    return [handle for handles, _ in parts for handle in handles], [name for _, names in parts for name in names]
