"""Logits along single lines, and how much they change along families of lines: what figures 1 to 3 have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from relu_regions.apps.reproduction.intervals import subset
from relu_regions.apps.reproduction.networks import TRAININGS, Labels, Member, main_setup, networks
from relu_regions.apps.reproduction.pictures import logit_panels
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers, estimate
from relu_regions.intervals.interval import exact_interval
from relu_regions.lines.directions import (
    Lines,
    between_classes,
    normal_direction,
    pairs,
    principal_components,
    random_directions,
)
from relu_regions.network.network import Network
from relu_regions.paths.paths import Path, Paths
from relu_regions.walking.walker import walk

__all__ = ["along_pairs", "along_principal_components", "changes", "logit_figure"]

_MEMORY = 1 << 29
# Of the two ways of training, the one whose lines are shown.
DRAWN = "momentum 0.9"


def along_pairs(member: Member, number: int) -> dict[str, Lines]:
    """To a sample of the same class, to one of another class, and along random directions (figure 1).

    Random directions are as long as two samples of a class are apart on average, and t runs over [-1, 2] for all.
    """
    x, labels = member.data.x_train, member.data.y_train
    same = subset(pairs(x, labels), number, member.seed)
    length = float(same.d.flatten(1).norm(dim=1).mean())
    aside = random_directions(x, directions=max(1, number // 10), seed=member.seed, length=length)
    return {
        "same class": same,
        "another class": subset(between_classes(x, labels), number, member.seed),
        "random": replace(subset(aside, number, member.seed), t_range=same.t_range),
    }


def along_principal_components(member: Member, number: int) -> dict[str, Lines]:
    """Through class means: first component, normal towards another class, minor component (figure 2).

    The first lines are the paper's, class 9 and 9 towards 1; then those of all other classes follow. All are of the
    same length, see `relu_regions.directions.principal_components`.
    """
    x, labels = member.data.x_train.double(), member.data.y_train
    classes = [9, 1, *(set(range(member.data.classes)) - {1, 9})]
    normals = [normal_direction(x, labels, start, end) for start, end in permutations(classes, 2)]
    return {
        "tangent": principal_components(x, labels, components=[0], classes=classes),
        "normal": _together(normals[:number]),
        "minor": principal_components(x, labels, components=[-1], classes=classes),
    }


def _together(lines: Sequence[Lines]) -> Lines:
    """Lines of the same form as one family."""
    starts = np.cumsum([0, *(len(family.points) for family in lines)]).tolist()
    return replace(
        lines[0],
        points=torch.cat([family.points for family in lines]),
        members=torch.cat([family.members + start for family, start in zip(lines, starts)]),
        index=torch.cat([family.index for family in lines]),
    )


def changes(member: Member, lines: Lines, label: Tensor) -> Numbers:
    """How much the logit of the right class changes along lines, exactly.

    Args:
        member: the network.
        lines: (N) of one range.
        label: (N,) int64, the right class of each line: that of the sample, or class, that it starts from.

    Returns:
        Means over the lines. ``variation``: total variation of that logit along the range, per unit of distance, so
        that lines of different length can be compared; ``range``: its largest less its smallest value, in logits;
        ``breakpoints``; ``interval``: the generalization interval as a share of the range; ``right_at_0``: the share
        of lines where the network says that class at t = 0; ``same_region`` and ``weight_change``: the two parts of
        equation 10 from t = 0 to 1, for that logit: |W_x0 d| and |f(x0 + d) - f(x0) - W_x0 d|.
    """
    network = Network.from_module(member.trained.model(), lines.x.shape[1:])
    paths = walk(network, lines.x, lines.d, lines.t_range, memory_budget=_MEMORY)
    found = exact_interval(network, lines.x, lines.d, lines.t_range, memory_budget=_MEMORY)
    parts = torch.split(_own_logit(paths, label), paths.offsets.diff().tolist())
    full = lines.t_range[1] - lines.t_range[0]
    variation = torch.stack([part.diff().abs().sum() for part in parts])
    first, rest = _parts_of_equation_10(network, lines, label)
    return {
        "variation": float((variation / (full * lines.d.flatten(1).norm(dim=1))).mean()),
        "range": float(torch.stack([part.max() - part.min() for part in parts]).mean()),
        "breakpoints": float(paths.breakpoint_counts.double().mean()),
        "interval": float((found.length / full).mean()),
        "right_at_0": float((found.label == label).double().mean()),
        "same_region": float(first.abs().mean()),
        "weight_change": float(rest.abs().mean()),
    }


def _right_class(member: Member, kind: str, lines: Lines) -> Tensor:
    """The class that each line starts from: its index names a class (principal components) or a sample."""
    start = lines.index[:, 0]
    return start if kind == "components" else member.data.y_train[start]


def _own_logit(paths: Paths, label: Tensor) -> Tensor:
    """The logit of each line's class at its points, (P,)."""
    return paths.outputs.gather(1, label.repeat_interleave(paths.offsets.diff())[:, None])[:, 0]


def _parts_of_equation_10(network: Network, lines: Lines, label: Tensor) -> tuple[Tensor, Tensor]:
    """W_x0 d, and what the change of weights adds to it, from t = 0 to 1; W_x0 is that of the region entered at 0."""
    paths = walk(network, lines.x, lines.d, (0, 1), memory_budget=_MEMORY)
    own, start = _own_logit(paths, label), paths.offsets[:-1]
    slope = (own[start + 1] - own[start]) / (paths.t[start + 1] - paths.t[start])
    return slope, own[paths.offsets[1:] - 1] - own[start] - slope


def logit_figure(run: Run, name: str, title: str, wanted: Mapping[Labels, tuple[str, ...]]) -> Numbers:
    """Computes a figure of logits along lines, writes ``name.json`` and draws ``name.png`` and ``name.svg``.

    The picture is of seed 0 with momentum and, of each family, the first line; the numbers are of all seeds, of both
    ways of training, and of many lines.

    Args:
        run: where to, and how much.
        name: of the figure.
        title: of the figure.
        wanted: for each kind of labels "pairs" (figure 1), "components" (figure 2) or both.
    """
    families: list[Numbers] = []
    curves: list[Numbers] = []
    drawn: list[tuple[str, Path, int]] = []
    summaries: dict[str, dict[str, list[Numbers]]] = {}
    for training in TRAININGS:
        trained = networks(run, main_setup(run, "mnist", training))
        summaries[training] = {labels: [member.summary() for member in trained[labels]] for labels in wanted}
        for labels, kinds in wanted.items():
            for kind in kinds:
                for numbers, (family, path, label) in _families(run, trained[labels], kind):
                    about = {"training": training, "labels": labels}
                    families.append({"name": f"{family}, {labels}, {training}", **about, **numbers})
                    if training != DRAWN:
                        continue
                    curves.append({**about, "family": family, **_curve(path, label)})
                    drawn.append((f"{labels} labels, {_WORDS[family]}", path, label))
    result = {
        "figure": name,
        "title": title,
        "quick": run.quick,
        "seeds": run.seeds,
        "samples": trained["real"][0].data.name,
        "networks": summaries,
        "families": families,
        "curves": curves,
    }
    write_figure(logit_panels(run.title(title), drawn), run.out / name)
    write_json(run.out / f"{name}.json", result)
    return result


def _families(run: Run, members: Sequence[Member], kind: str) -> Iterator[tuple[Numbers, tuple[str, Path, int]]]:
    """The numbers of each family of lines, and its first line of the first network: family, path, right class."""
    of_member = {"pairs": along_pairs, "components": along_principal_components}[kind]
    lines = [of_member(member, run.pick(500, 30)) for member in members]
    first: list[Numbers] = []
    for family in lines[0]:
        right = [_right_class(member, kind, given[family]) for member, given in zip(members, lines)]
        seeds = [changes(member, given[family], label) for member, given, label in zip(members, lines, right)]
        first = first or seeds
        numbers = {key: estimate([seed[key] for seed in seeds]) for key in seeds[0]}
        ratio = estimate([seed["variation"] / of_first["variation"] for seed, of_first in zip(seeds, first)])
        shown = lines[0][family][0]
        path = walk(
            Network.from_module(members[0].trained.model(), shown.x.shape[1:]), shown.x, shown.d, shown.t_range
        )[0]
        yield (
            {"family": family, "lines": len(right[0]), **numbers, "variation_ratio": ratio, "by_seed": seeds},
            (family, path, int(right[0][0])),
        )


_WORDS = {
    "same class": "to a sample of the same class (t = 1)",
    "another class": "to a sample of another class (t = 1)",
    "random": "along a random direction",
    "tangent": "from the mean of class 9 along its first principal component",
    "normal": "from the mean of class 9 towards that of class 1, perpendicular to the component",
    "minor": "from the mean of class 9 along its component of least variance",
}


def _curve(path: Path, label: int) -> Numbers:
    """What is drawn: exact logits at both ends and every breakpoint."""
    t, outputs = path.t.numpy(), path.outputs.numpy()
    return {"class": label, "t": np.round(t, 7), "logits": [np.round(column, 5) for column in outputs.T]}
