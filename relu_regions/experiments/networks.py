"""The networks of the paper's section 4.1: each setting with real and with random labels, and several seeds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relu_regions.experiments.data import Dataset, load
from relu_regions.experiments.results import Run
from relu_regions.experiments.training import TrainedNetwork, TrainingConfig, train

__all__ = ["LABELS", "TITLES", "Member", "Setup", "accuracy", "networks", "samples"]

Labels = Literal["real", "random"]
LABELS: tuple[Labels, Labels] = ("real", "random")
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
        hidden: widths of the hidden layers.
        training: further attributes of `TrainingConfig`.
    """

    data: str = "mnist"
    factor: int = 1
    standardised: bool = False
    hidden: tuple[int, ...] = (128, 128, 128)
    training: dict[str, Any] = field(default_factory=dict)

    def config(self, widths: tuple[int, ...], run: Run) -> TrainingConfig:
        """How to train networks of these widths."""
        chosen = {"momentum": 0.9, "batch_size": 32, "target_loss": 0.01, "max_epochs": run.pick(3000, 150)}
        return TrainingConfig(widths, **{**chosen, **self.training})

    def with_training(self, **changed: Any) -> Setup:
        """The same with another training."""
        return replace(self, training={**self.training, **changed})


@dataclass(frozen=True)
class Member:
    """One network of a setting.

    Attributes:
        seed: of its samples, labels, first weights and order.
        labels: whether it was trained on real or random labels.
        data: the samples it was trained on, as vectors, with the labels it was trained on.
        trained: the network.
    """

    seed: int
    labels: Labels
    data: Dataset
    trained: TrainedNetwork

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
    """The samples of a seed: 100 of each class for training (paper, section 4.1), as vectors."""
    if setup.data == "two_moons":
        return load("two_moons", seed=seed)
    data = load("digits") if run.quick else load(setup.data, run.data)
    data = data.per_class(run.pick(100, 10), seed=seed).downsampled(setup.factor)
    return (data.standardised() if setup.standardised else data).flattened()


def networks(run: Run, setup: Setup) -> dict[Labels, list[Member]]:
    """The networks of a setting, trained together, or read from the cache of the run."""
    seeds = list(range(run.seeds))
    real = [samples(run, setup, seed) for seed in seeds]
    data = [*real, *(given.permuted_labels(seed) for seed, given in zip(seeds, real))]
    hidden = tuple(min(width, run.pick(width, 32)) for width in setup.hidden)
    config = setup.config((data[0].x_train.shape[1], *hidden, data[0].classes), run)
    trained = train(
        torch.stack([given.x_train for given in data]),
        torch.stack([given.y_train for given in data]),
        seeds * 2,
        config,
        cache_dir=run.cache / "networks",
        save_every=10.0,
        progress=run.progress,
    )
    kinds = [labels for labels in LABELS for _ in seeds]
    members = [Member(*parts) for parts in zip(seeds * 2, kinds, data, trained)]
    return {labels: [member for member in members if member.labels == labels] for labels in LABELS}


def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    """The share of samples that a network classifies as labelled."""
    with torch.no_grad():
        found = [model(part).argmax(1) for part in torch.split(x, 1000)]
    return float((torch.cat(found) == labels).double().mean())
