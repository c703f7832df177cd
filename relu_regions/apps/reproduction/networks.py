"""The networks of the paper's section 4.1: each setting with real and with random labels, and several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from relu_regions.apps.reproduction.batched_sgd import TrainingConfig
from relu_regions.apps.reproduction.data import Dataset, load
from relu_regions.apps.reproduction.modules import FittedModule, fit
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.training import TrainedNetwork, train
from relu_regions.apps.reproduction.training_loop import Descent
from relu_regions.lines.decision import Decision

__all__ = ["LABELS", "TITLES", "TRAININGS", "Member", "Setup", "accuracy", "main_setup", "networks", "samples"]

Labels = Literal["real", "random"]
LABELS: tuple[Labels, Labels] = ("real", "random")
# The paper says SGD, and no more: its claims are judged under both.
TRAININGS = {"plain SGD": 0.0, "momentum 0.9": 0.9}
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "digits": "digits", "two_moons": "two moons"}


@dataclass(frozen=True)
class Setup:
    """Samples, architecture and training; the defaults are the main network of the paper, as far as it says.

    The paper gives the widths, SGD and a learning rate of 0.01, and "random uniform" weights. Momentum, batch size,
    stopping rule and scaling of pixels are choices: figure 4 shows what they change.

    Attributes:
        data: "mnist", "cifar10" or "two_moons"; a quick run has digits in place of images.
        factor: pixels are means of blocks of factor × factor.
        standardised: pixels shifted and scaled to mean 0 and variance 1, in place of [0, 1].
        architecture: "mlp", or one of `relu_regions.apps.reproduction.modules`, whose samples keep the shape of images.
        hidden: widths of the hidden layers of "mlp".
        training: further attributes of `TrainingConfig`; of other architectures those of `Descent`, and ``augment`` of
            `relu_regions.apps.reproduction.modules.fit`.
    """

    data: str = "mnist"
    factor: int = 1
    standardised: bool = False
    architecture: str = "mlp"
    hidden: tuple[int, ...] = (128, 128, 128)
    training: dict[str, Any] = field(default_factory=dict)

    def options(self, run: Run) -> dict[str, Any]:
        """How to train."""
        chosen = {"momentum": 0.9, "batch_size": 32, "target_loss": 0.01, "max_epochs": run.pick(3000, 150)}
        return {**chosen, **self.training}

    def config(self, widths: tuple[int, ...], run: Run) -> TrainingConfig:
        """How to train multilayer perceptrons of these widths."""
        return TrainingConfig(widths, **self.options(run))

    def with_training(self, **changed: Any) -> Setup:
        """The same with another training."""
        return replace(self, training={**self.training, **changed})


def main_setup(run: Run, data: str, training: str) -> Setup:
    """The main network of a data set under one of `TRAININGS`, kept after evenly spaced epochs of its training."""
    momentum = TRAININGS[training]
    # About twenty times, with real labels.
    spacing = {"mnist": (20, 2), "cifar10": (20, 10)}.get(data, (20, 2))[momentum > 0]
    kept = range(0, run.pick(3000, 150) + 1, run.pick(spacing, 10))
    return Setup(data, training={"momentum": momentum, "checkpoints": tuple(kept)})


@dataclass(frozen=True)
class Member:
    """One network of a setting.

    Attributes:
        seed: of its samples, labels, first weights and order.
        labels: whether it was trained on real or random labels.
        data: the samples it was trained on, with the labels it was trained on.
        trained: the network.
    """

    seed: int
    labels: Labels
    data: Dataset
    trained: TrainedNetwork | FittedModule

    def summary(self) -> dict[str, Any]:
        """How training ended, and the share of validation samples classified correctly."""
        trained = self.trained
        return {
            "seed": self.seed,
            "epochs": trained.epochs,
            "training_loss": trained.loss,
            "training_errors": trained.errors,
            "validation_accuracy": accuracy(trained.model(), self.data.x_test, self.data.y_test),
        }


def samples(run: Run, setup: Setup, seed: int) -> Dataset:
    """The samples of a seed: 100 of each class for training (paper, section 4.1); as vectors for "mlp"."""
    if setup.data == "two_moons":
        return load("two_moons", seed=seed)
    data = _loaded("digits", None) if run.quick else _loaded(setup.data, run.data)
    data = data.per_class(run.pick(100, 10), seed=seed).downsampled(setup.factor)
    data = data.standardised() if setup.standardised else data
    return data.flattened() if setup.architecture == "mlp" else data


@lru_cache(maxsize=1)
def _loaded(name: str, data: Path | None) -> Dataset:
    """One data set stays in memory: every setting and seed asks for it."""
    return load(name, data)


def networks(run: Run, setup: Setup, kinds: Sequence[Labels] = LABELS) -> dict[Labels, list[Member]]:
    """The networks of a setting for kinds of labels, trained together, or read from the cache of the run."""
    seeds = list(range(run.seeds))
    real = [samples(run, setup, seed) for seed in seeds]
    data = [
        given if labels == "real" else given.permuted_labels(seed)
        for labels in kinds
        for seed, given in zip(seeds, real)
    ]
    train_all = _perceptrons if setup.architecture == "mlp" else _modules
    trained: Sequence[TrainedNetwork | FittedModule] = train_all(run, setup, data, seeds * len(kinds))
    of_kind = [labels for labels in kinds for _ in seeds]
    members = [Member(*parts) for parts in zip(seeds * len(kinds), of_kind, data, trained)]
    return {labels: [member for member in members if member.labels == labels] for labels in kinds}


def _perceptrons(run: Run, setup: Setup, data: Sequence[Dataset], seeds: Sequence[int]) -> list[TrainedNetwork]:
    hidden = tuple(min(width, run.pick(width, 32)) for width in setup.hidden)
    config = setup.config((data[0].x_train.shape[1], *hidden, data[0].classes), run)
    return train(
        torch.stack([given.x_train for given in data]),
        torch.stack([given.y_train for given in data]),
        seeds,
        config,
        cache_dir=run.cache / "networks",
        save_every=10.0,
        progress=run.progress,
    )


def _modules(run: Run, setup: Setup, data: Sequence[Dataset], seeds: Sequence[int]) -> list[FittedModule]:
    options = setup.options(run)
    augment, descent = options.pop("augment", 0), Descent(**options)
    with tqdm(
        total=len(data),
        desc=setup.architecture,
        unit="network",
        disable=None if run.progress is None else not run.progress,
    ) as bar:
        fitted = []
        for given, seed in zip(data, seeds):
            fitted.append(
                fit(setup.architecture, given, seed, descent, cache_dir=run.cache / "networks", augment=augment)
            )
            bar.update()
    return fitted


def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    """The share of samples that a network classifies as labelled."""
    with torch.no_grad():
        outputs = torch.cat([model(part) for part in torch.split(x, 1000)])
    return float((Decision.of(outputs.shape[1:]).labels(outputs) == labels).double().mean())
