"""Beyond the paper: do intervals between training samples predict accuracy better than margins or norms?

Networks of different size and training, all on the same 1000 samples with their real labels, and others of which a
share of the labels is permuted. Each predictor is computed from the training samples alone.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from relu_regions.apps.reproduction.data import Dataset
from relu_regions.apps.reproduction.intervals import intervals, lengths, subset
from relu_regions.apps.reproduction.networks import TITLES, Setup, accuracy, samples
from relu_regions.apps.reproduction.pictures import new_figure
from relu_regions.apps.reproduction.results import Run, write_figure, write_json
from relu_regions.apps.reproduction.statistics import Numbers
from relu_regions.apps.reproduction.training import TrainedNetwork, train
from relu_regions.lines.directions import pairs

__all__ = ["noisy", "predictors", "reproduce"]

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
        "rank_correlations": [
            {"networks": "real labels", **_ranks([row for row in networks if row["noise"] == 0], run.pick(1999, 99))},
            {"networks": "real labels and a share of permuted ones", **_ranks(networks, run.pick(1999, 99))},
        ],
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


_PREDICTORS = (
    "mean_interval",
    "never_ends",
    "margin",
    "spectral_margin",
    "spectral_norm",
    "frobenius_norm",
    "path_norm",
)


def _ranks(rows: list[Numbers], resamples: int) -> Numbers:
    """Spearman's correlation of each predictor with validation accuracy, and its bootstrap interval over networks."""
    target = np.array([row["validation_accuracy"] for row in rows])
    result: Numbers = {"number": len(rows)}
    for name in _PREDICTORS:
        column = np.array([row[name] for row in rows])
        found = stats.bootstrap(
            (column, target), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False,
            n_resamples=resamples, method="percentile", random_state=0,
        )  # fmt: skip
        interval = found.confidence_interval
        result[name] = [float(stats.spearmanr(column, target).statistic), float(interval.low), float(interval.high)]
    return result
