"""The networks that are measured: first weights, trained on real labels, trained on random labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from relu_regions.apps.reproduction.claims_norms import STATES
from relu_regions.apps.reproduction.data import Dataset
from relu_regions.apps.reproduction.networks import Setup, networks
from relu_regions.apps.reproduction.results import Run
from relu_regions.network.network import Network
from relu_regions.regions.lipschitz_bounds import linear_network_norm, logit_bounds, product_bound

__all__ = ["State", "states"]


@dataclass(frozen=True)
class State:
    """One network at one time.

    Attributes:
        name: one of STATES.
        seed: of its samples and first weights.
        model: in float32, as it was trained.
        data: the samples, as vectors, with the labels that it was trained on.
        errors: misclassified training samples.
    """

    name: str
    seed: int
    model: nn.Sequential
    data: Dataset
    errors: int

    @cached_property
    def network(self) -> Network:
        """As steps, in float64."""
        return Network.from_module(self.model, self.data.x_train.shape[1:])

    @cached_property
    def linear(self) -> float:
        """‖W‖_∞ of the linear network."""
        return linear_network_norm(self.network)

    @cached_property
    def product(self) -> float:
        """Π ‖W_l‖_∞."""
        return product_bound(self.network)

    @cached_property
    def row_sums(self) -> Tensor:
        """Row sums of |W_L| ⋯ |W_1|."""
        return logit_bounds(self.network)


def states(run: Run, setup: Setup) -> Iterator[State]:
    """The networks of a setting, trained or read from the cache of the run; each seed in all three states.

    Epochs that the setting keeps anyway must have 0 among them.
    """
    kept = tuple(setup.training.get("checkpoints", ())) or (0,)
    for kind, members in networks(run, setup.with_training(checkpoints=kept)).items():
        for member in members:
            if kind == "real":
                first = member.trained.model(0)
                with torch.no_grad():
                    wrong = int((first(member.data.x_train).argmax(1) != member.data.y_train).sum())
                yield State(STATES[0], member.seed, first, member.data, wrong)
            name = STATES[1] if kind == "real" else STATES[2]
            yield State(name, member.seed, member.trained.model(), member.data, member.trained.errors)
