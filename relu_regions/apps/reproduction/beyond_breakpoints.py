"""Beyond the paper: breakpoints along lines against width and depth, before and after training, beside the theory.

Hanin and Rolnick (Complexity of Linear Regions in Deep Networks, 2019) show that a random network has breakpoints along
a line in proportion to its number of units, whatever its depth, and observe that training changes little.

The constant, for a wide network with Gaussian weights of variance 2 / inputs and no biases: the pre-activations along a
line are Gaussian processes, and the arc-cosine kernel of ReLU (Cho and Saul, 2009) keeps the angle between two inputs
to first order. By Rice's formula each unit then bends θ / π times on average, where θ is the angle between the ends of
the segment as seen from 0. For a first layer this holds at every width.

Counts are of whole segments between two samples; per unit of length they are divided by the Euclidean distance of
these.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from relu_regions.apps.reproduction.densities import pairs_of
from relu_regions.apps.reproduction.intervals import subset
from relu_regions.apps.reproduction.networks import LABELS, TITLES, Setup, networks
from relu_regions.apps.reproduction.pictures import new_figure
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers, estimate
from relu_regions.lines.directions import Lines
from relu_regions.network.network import Network
from relu_regions.walking.walker import walk

__all__ = ["angle", "he_network", "reproduce"]

NAME = "beyond_breakpoints"
HIDDEN = tuple((width,) * depth for depth in (1, 2, 3, 4, 6) for width in (16, 32, 64, 128, 256))
TRAINED = ((512,), (256,) * 2, (128,) * 3, (128,) * 4)


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    hidden = HIDDEN[:: run.pick(1, 6)]
    random = [_at_random(run, widths) for widths in hidden]
    trained = [_in_training(run, widths) for widths in TRAINED[:: run.pick(1, 3)]]
    title = "Beyond the paper: breakpoints on the segment between two samples of a class"
    figure, (left, right) = new_figure(1, 2, run.title(title), (5.6, 3.6))
    for depth in sorted({row["depth"] for row in random}):
        rows = [row for row in random if row["depth"] == depth]
        left.loglog(
            [row["units"] for row in rows],
            [row["breakpoints"][0] for row in rows],
            "o",
            markersize=4,
            label=f"depth {depth}",
        )
    units = np.array([row["units"] for row in random])
    left.plot(
        np.sort(units), np.sort(units) * random[0]["theory_per_unit"][0], "k-", linewidth=0.8, label="units × θ / π"
    )
    left.set(xlabel="hidden units", ylabel="breakpoints", title="Random weights (He), no biases")
    for place, stage in enumerate(("first weights", "real labels", "random labels")):
        centres = np.arange(len(trained)) + (place - 1) * 0.27
        right.bar(centres, [row[stage]["per_unit"][0] for row in trained], 0.25, label=stage)
    right.set_xticks(range(len(trained)), [row["hidden"] for row in trained], fontsize="small")
    right.set(xlabel="hidden layers", ylabel="breakpoints per unit", title="Before and after training")
    for ax in (left, right):
        ax.title.set_fontsize("small")
        ax.legend(frameon=False, fontsize="small")
    write_figure(figure, run.out / NAME)
    result = {
        "figure": NAME,
        "title": title,
        "quick": run.quick,
        "seeds": run.seeds,
        "random": random,
        "trained": trained,
    }
    write_json(run.out / f"{NAME}.json", result)
    return result


def he_network(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    """Gaussian weights of variance 2 / inputs and no biases, float64."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs, bias=False, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(
                torch.randn(outputs, inputs, generator=generator, dtype=torch.float64) * math.sqrt(2 / inputs)
            )
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def angle(start: Tensor, end: Tensor) -> Tensor:
    """Angles between rows as seen from 0, (N,)."""
    return torch.nn.functional.cosine_similarity(start, end).clamp(-1, 1).arccos()


def _breakpoints(model: nn.Module, lines: Lines) -> float:
    """The mean number of breakpoints between two samples, t from 0 to 1."""
    # An average over hundreds of lines: what rounding may decide in one of them is not worth settling.
    paths = walk(
        Network.from_module(model, lines.x.shape[1:]), lines.x, lines.d, (0, 1), resolve="never", memory_budget=1 << 29
    )
    return float(paths.breakpoint_counts.double().mean())


def _length(lines: Lines) -> float:
    """The mean Euclidean length of the segments."""
    return float(lines.d.flatten(1).norm(dim=1).mean())


def _at_random(run: Run, hidden: tuple[int, ...]) -> Numbers:
    counts, angles, lengths = [], [], []
    for member in networks(run, Setup("mnist"))["real"]:
        lines = subset(pairs_of()(member), run.pick(200, 50), member.seed)
        widths = (lines.d.shape[1], *hidden, member.data.classes)
        counts.append(_breakpoints(he_network(widths, member.seed), lines))
        angles.append(float(angle(lines.x, lines.x + lines.d).mean()))
        lengths.append(_length(lines))
    units = sum(hidden)
    return {
        "hidden": f"{len(hidden)}×{hidden[0]}",
        "depth": len(hidden),
        "width": hidden[0],
        "units": units,
        "breakpoints": estimate(counts),
        "per_unit": estimate([count / units for count in counts]),
        "per_length": estimate([count / length for count, length in zip(counts, lengths)]),
        "theory_per_unit": estimate([of_seed / math.pi for of_seed in angles]),
        "against_theory": estimate([count / units / (of_seed / math.pi) for count, of_seed in zip(counts, angles)]),
    }


def _in_training(run: Run, hidden: tuple[int, ...]) -> Numbers:
    """The same lines before and after training; the first weights are torch's, with biases."""
    setup = Setup("mnist", hidden=hidden)
    trained = networks(run, setup)
    first = networks(run, setup.with_training(checkpoints=(0,), max_epochs=1), ("real",))["real"]
    layers = [layer for layer in trained["real"][0].trained.model() if isinstance(layer, nn.Linear)]
    hidden = tuple(layer.out_features for layer in layers[:-1])
    units = sum(hidden)
    result: Numbers = {
        "hidden": f"{len(hidden)}×{hidden[0]}",
        "units": units,
        "samples": TITLES[trained["real"][0].data.name],
    }
    counts: dict[str, list[float]] = {"first weights": [], "real labels": [], "random labels": []}
    lengths: dict[str, list[float]] = {stage: [] for stage in counts}
    for labels in LABELS:
        for member, real in zip(trained[labels], first):
            lines = subset(pairs_of()(real), run.pick(200, 50), member.seed)
            counts[f"{labels} labels"].append(_breakpoints(member.trained.model(), lines) / units)
            lengths[f"{labels} labels"].append(_length(lines))
            if labels == "real":
                counts["first weights"].append(_breakpoints(real.trained.model(0), lines) / units)
                lengths["first weights"].append(_length(lines))
    for stage, values in counts.items():
        per_length = [units * value / length for value, length in zip(values, lengths[stage])]
        result[stage] = {"per_unit": estimate(values), "per_length": estimate(per_length)}
    result["change_real"] = estimate(
        [after / before for after, before in zip(counts["real labels"], counts["first weights"])]
    )
    result["change_random"] = estimate(
        [after / before for after, before in zip(counts["random labels"], counts["first weights"])]
    )
    return result
