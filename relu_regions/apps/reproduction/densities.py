"""Densities of generalization intervals for real and random labels: what figures 4 to 8 have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relu_regions.apps.reproduction.intervals import Columns, intervals, lengths, subset
from relu_regions.apps.reproduction.networks import LABELS, TITLES, Labels, Member, Setup, networks
from relu_regions.apps.reproduction.pictures import density_panels
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers, compare, estimate, histogram, of_lengths, peaks
from relu_regions.lines.directions import Lines, midlines, pairs
from relu_regions.network.arrays import Floats

__all__ = ["Measured", "Panel", "density_figure", "measure", "midlines_of", "pairs_of", "summarise"]

# Triangles are too many to list.
MIDLINES = 5000

Family = Callable[[Member], Lines]


@dataclass(frozen=True)
class Panel:
    """One density of a figure: a setting and a family of lines.

    Attributes:
        name: in the JSON file.
        detail: above the picture, after the name of the samples and the number of inputs.
        setup: samples, architecture and training.
        family: the lines of a network.
        number: of lines of each network, drawn at random; None for all.
        repeats: how many times as many networks as the run has seeds.
    """

    name: str
    detail: str
    setup: Setup
    family: Family
    number: int | None = 2000
    repeats: int = 1


@dataclass(frozen=True)
class Measured:
    """A panel's networks, lines and intervals, for each kind of labels."""

    panel: Panel
    members: Mapping[Labels, Sequence[Member]]
    lines: Mapping[Labels, Sequence[Lines]]
    columns: Mapping[Labels, Sequence[Columns]]

    @property
    def title(self) -> str:
        """Of its picture: the samples, which in a quick run are not the setting's, and the rest."""
        data = self.members["real"][0].data
        return ", ".join(filter(None, [f"{TITLES[data.name]}, {data.x_train[0].numel()} inputs", self.panel.detail]))

    @property
    def t_range(self) -> tuple[float, float]:
        """The range of t of the lines."""
        return self.lines["real"][0].t_range

    @property
    def full(self) -> float:
        """The length of an interval that never ends."""
        return self.t_range[1] - self.t_range[0]

    def lengths(self, labels: Labels) -> list[Floats]:
        """Of every network with these labels."""
        return [lengths(columns) for columns in self.columns[labels]]

    def right(self, labels: Labels) -> list[NDArray[np.bool_]]:
        """Of every network, on which lines it says the class of the line's samples at t = 0."""
        given = zip(self.members[labels], self.lines[labels], self.columns[labels])
        return [columns["label"] == member.data.y_train[lines.index[:, 0]].numpy() for member, lines, columns in given]


def pairs_of(*classes: int) -> Family:
    """Lines through two samples of a class; of all classes by default."""
    return lambda member: pairs(member.data.x_train, member.data.y_train, classes=classes or None)


def midlines_of(*classes: int) -> Family:
    """Midlines of triangles of samples of a class, of all classes by default: some of them, drawn at random."""

    def of(member: Member) -> Lines:
        labels = member.data.y_train
        counts = labels.bincount()[list(classes) or slice(None)]
        there_are = int((counts * (counts - 1) * (counts - 2)).sum())
        number = min(MIDLINES, there_are)
        return midlines(member.data.x_train, labels, classes=classes or None, number=number, seed=member.seed)

    return of


def measure(run: Run, panel: Panel, kinds: Sequence[Labels] = LABELS) -> Measured:
    """Trains a panel's networks and computes their intervals, exactly."""
    members = networks(replace(run, seeds=run.seeds * run.pick(panel.repeats, 1)), panel.setup, kinds)
    number = _number(run, panel)
    everyone = [member for labels in kinds for member in members[labels]]
    lines = [subset(panel.family(member), number, member.seed) for member in everyone]
    columns = intervals(run, [member.trained.model() for member in everyone], lines, f"intervals, {panel.name}")
    seeds = len(everyone) // len(kinds)
    of_kind = {labels: slice(place * seeds, (place + 1) * seeds) for place, labels in enumerate(kinds)}
    return Measured(
        panel,
        members,
        {labels: lines[own] for labels, own in of_kind.items()},
        {labels: columns[own] for labels, own in of_kind.items()},
    )


def _number(run: Run, panel: Panel) -> int | None:
    """Of lines of each network; a tenth in a quick run, and at most 200."""
    if not run.quick:
        return panel.number
    return 200 if panel.number is None else min(200, panel.number // 10)


def summarise(measured: Measured) -> Numbers:
    """All numbers of a panel: for each kind of labels, their comparison, and how much of it is proven."""
    panel = measured.panel
    result: Numbers = {
        "name": panel.name,
        "title": measured.title,
        "setup": _described(panel.setup),
        "network": str(measured.members["real"][0].trained.model()),
        "samples": measured.members["real"][0].data.name,
        "t_range": measured.t_range,
        "lines_of_each_network": len(measured.lines["real"][0]),
    }
    columns = [column for labels in LABELS for column in measured.columns[labels]]
    result["lines"] = sum(len(column["lo"]) for column in columns)
    result["unproven"] = sum(int((~column["certain"]).sum()) for column in columns)
    result["settled_in_rational_arithmetic"] = sum(int(column["settled"].sum()) for column in columns)
    for labels in LABELS:
        result[labels] = _of_labels(measured, labels)
    result["real_against_random"] = compare(measured.lengths("real"), measured.lengths("random"), measured.full)
    return result


def _described(setup: Setup) -> Numbers:
    """A setting without the list of epochs at which its networks were kept."""
    given = asdict(setup)
    given["training"].pop("checkpoints", None)
    return given


def _of_labels(measured: Measured, labels: Labels) -> Numbers:
    given, columns = measured.lengths(labels), measured.columns[labels]
    seeds = [of_lengths(length, column["lo"], column["hi"], measured.t_range) for length, column in zip(given, columns)]
    for seed, length, right in zip(seeds, given, measured.right(labels)):
        seed |= {"right_at_0": right.mean(), "mean_where_right": length[right].mean() if right.any() else float("nan")}
    return {
        "networks": [member.summary() for member in measured.members[labels]],
        "seeds": seeds,
        **{name: estimate([seed[name] for seed in seeds]) for name in seeds[0]},
        "peaks": peaks(given, measured.full),
        "histogram": histogram(given, measured.full),
    }


def density_figure(
    run: Run, name: str, title: str, panels: Sequence[Panel], more: Callable[[list[Measured]], Numbers] | None = None
) -> dict[str, Any]:
    """Computes panels, writes ``name.json`` and draws ``name.png`` and ``name.svg``.

    Args:
        run: where to, and how much.
        name: of the figure.
        title: of the figure.
        panels: from left to right.
        more: further numbers, from the panels as measured.
    """
    measured = [measure(run, panel) for panel in panels]
    result = {
        "figure": name,
        "title": title,
        "quick": run.quick,
        "seeds": run.seeds,
        "panels": [summarise(panel) for panel in measured],
        **(more(measured) if more else {}),
    }
    drawn = [
        (
            panel.title,
            {f"{labels} labels": np.concatenate(panel.lengths(labels)) for labels in LABELS},
            panel.full,
        )
        for panel in measured
    ]
    write_figure(density_panels(run.title(title), drawn), run.out / name)
    write_json(run.out / f"{name}.json", result)
    return result
