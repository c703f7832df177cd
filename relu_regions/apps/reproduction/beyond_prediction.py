"""Beyond the paper: do intervals between training samples predict accuracy better than margins or norms?

Networks of different size and training, all on the same 1000 samples with their real labels, and others of which a
share of the labels is permuted. Each predictor is computed from the training samples alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relu_regions.apps.reproduction.data import Dataset
from relu_regions.apps.reproduction.intervals import intervals, lengths, subset
from relu_regions.apps.reproduction.networks import TITLES, Setup, accuracy, samples
from relu_regions.apps.reproduction.pictures import new_figure
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers, correlations
from relu_regions.apps.reproduction.training import TrainedNetwork, train
from relu_regions.lines.directions import pairs

__all__ = ["PREDICTORS", "noisy", "predictors", "ranked", "reproduce"]

NAME = "beyond_prediction"

HIDDEN = ((32,), (512,), (64,) * 2, (256,) * 2, (32,) * 3, (128,) * 3, (128,) * 4, (64,) * 5)
TRAINING: dict[str, dict[str, Any]] = {
    "as the main network": {},
    "weight decay 0.01": {"weight_decay": 0.01, "target_loss": 0.1},
    "batches of 10, no momentum": {"batch_size": 10, "momentum": 0.0},
    "batches of 128": {"batch_size": 128},
    "weights within ±0.05": {"initialisation": "fixed"},
    "stop at loss ≤ 0.2": {"target_loss": 0.2},
}
NOISE = (0.0, 0.1, 0.25, 0.5)


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    data = samples(run, Setup("mnist"), 0)
    plain = [_row(run, data, hidden, name, 0.0) for hidden, name in product(HIDDEN[:: run.pick(1, 4)], TRAINING)]
    shared = [
        _row(run, data, hidden, "as the main network", noise)
        for hidden, noise in product(HIDDEN[:: run.pick(1, 4)], NOISE[1:])
    ]
    # Two ways of training can give the same network: where the loss is small enough once there are no errors.
    different = {(row["hidden"], row["noise"], row["epochs"], row["spectral_norm"]): row for row in (*shared, *plain)}
    networks = [row for row in different.values() if row["training_errors"] == 0]
    title = "Beyond the paper: mean interval between training samples, and validation accuracy"
    result = {
        "figure": NAME,
        "title": title,
        "quick": run.quick,
        "seeds": 1,
        "samples": TITLES[data.name],
        "networks": networks,
        "left_out": len(plain) + len(shared) - len(networks),
        "rank_correlations": ranked(networks),
    }
    figure, (left, right) = new_figure(1, 2, run.title(title), (5.0, 3.6))
    for ax, chosen in ((left, [row for row in networks if row["noise"] == 0]), (right, networks)):
        for noise in sorted({row["noise"] for row in chosen}):
            rows = [row for row in chosen if row["noise"] == noise]
            ax.plot(
                [row["mean_interval"] for row in rows],
                [row["validation_accuracy"] for row in rows],
                "o",
                markersize=4,
                label=f"{noise:.0%} of labels permuted",
            )
        ax.set(xlabel="mean interval of pairs", ylabel="validation accuracy")
        ax.legend(frameon=False, fontsize="small")
    write_figure(figure, run.out / NAME)
    write_json(run.out / f"{NAME}.json", result)
    return result


def noisy(data: Dataset, share: float, seed: int) -> Tensor:
    """Training labels of which a share, drawn at random, is permuted among themselves."""
    generator = np.random.default_rng([seed, 11])
    chosen = generator.choice(len(data.y_train), round(share * len(data.y_train)), replace=False)
    labels = data.y_train.clone()
    labels[torch.from_numpy(chosen)] = data.y_train[torch.from_numpy(generator.permutation(chosen))]
    return labels


def _row(run: Run, data: Dataset, hidden: tuple[int, ...], training: str, noise: float) -> Numbers:
    """One network: how it was trained, its validation accuracy and its predictors."""
    labels = noisy(data, noise, 0)
    config = Setup("mnist", training=TRAINING[training]).config((data.x_train.shape[1], *hidden, data.classes), run)
    (trained,) = train(data.x_train, labels, [0], config, cache_dir=run.cache / "networks", progress=run.progress)
    lines = subset(pairs(data.x_train, labels), run.pick(500, 100), 0)
    (columns,) = intervals(run, [trained.model()], [lines], "pairs")
    return {
        "hidden": f"{len(hidden)}×{hidden[0]}",
        "training": training,
        "noise": noise,
        "epochs": trained.epochs,
        "training_errors": trained.errors,
        "validation_accuracy": accuracy(trained.model(), data.x_test, data.y_test),
        "mean_interval": float(lengths(columns).mean()),
        "never_ends": float((lengths(columns) == lines.t_range[1] - lines.t_range[0]).mean()),
        **predictors(trained, data.x_train, labels),
    }


def predictors(trained: TrainedNetwork, x: Tensor, labels: Tensor) -> dict[str, float]:
    """Margins and norms, signed so that the larger should be the better.

    ``margin``: the 10th percentile of the labelled logit less the largest other, over training samples;
    ``spectral_margin``: the same over Π ‖W_l‖_2 (as Bartlett, Foster and Telgarsky, 2017, normalise margins);
    ``spectral_norm``, ``frobenius_norm``: −Σ log ‖W_l‖; ``path_norm``: −log of the l2 path norm (Neyshabur, 2015).
    """
    model = trained.model().double()
    weights = [layer.weight.detach() for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        logits = model(x.double())
    own = logits.gather(1, labels[:, None])[:, 0]
    margins = own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    margin = float(margins.quantile(0.1))
    spectral = sum(float(torch.linalg.matrix_norm(weight, 2).log()) for weight in weights)
    frobenius = sum(float(weight.norm().log()) for weight in weights)
    path = weights[0].square()
    for weight in weights[1:]:
        path = weight.square() @ path
    return {
        "margin": margin,
        "spectral_margin": margin / float(np.exp(spectral)),
        "spectral_norm": -spectral,
        "frobenius_norm": -frobenius,
        "path_norm": -0.5 * float(path.sum().log()),
    }


PREDICTORS = (
    "mean_interval",
    "never_ends",
    "margin",
    "spectral_margin",
    "spectral_norm",
    "frobenius_norm",
    "path_norm",
    "depth",
)


def ranked(rows: Sequence[Numbers]) -> list[Numbers]:
    """Spearman's correlation of each predictor with validation accuracy: of all networks, and among those alike.

    Depth, noise and the way of training change accuracy and predictors alike, so a predictor must also rank the
    networks that share them: within one depth or one way of training, averaged over these; and within one share of
    permuted labels. All networks have the same samples and first weights by one seed: no interval is given.
    """
    real = [row for row in rows if row["noise"] == 0]
    groups = [("real labels", [real])]
    groups += [(f"real labels, within one {key}", _by(real, key)) for key in ("depth", "training")]
    main = [row for row in rows if row["training"] == "as the main network"]
    groups += [
        (f"{noise:.0%} of labels permuted", [[row for row in main if row["noise"] == noise]])
        for noise in sorted({row["noise"] for row in main} - {0})
    ]
    groups.append(("real and permuted labels", [list(rows)]))
    return [{"name": name, **_ranks(alike)} for name, alike in groups]


def _by(rows: Sequence[Numbers], key: str) -> list[list[Numbers]]:
    """Rows that share what a key says, where there are at least four: of fewer, ranks say nothing."""
    found: dict[Any, list[Numbers]] = {}
    for row in rows:
        found.setdefault(_depth(row) if key == "depth" else row[key], []).append(row)
    return [group for group in found.values() if len(group) > 3]


def _depth(row: Numbers) -> int:
    return int(row["hidden"].partition("×")[0])


def _ranks(groups: Sequence[Sequence[Numbers]]) -> Numbers:
    """Means over groups; None where a predictor, or accuracy, is the same in all of a group."""
    result: Numbers = {"number": sum(map(len, groups)), "groups": len(groups)}
    for name in PREDICTORS:
        found = []
        for rows in groups:
            column = [-_depth(row) if name == "depth" else row[name] for row in rows]
            target = [row["validation_accuracy"] for row in rows]
            found.append(correlations({name: column}, target)[name]["spearman"])
        result[name] = float(np.mean(found)) if found else float("nan")
    return result
