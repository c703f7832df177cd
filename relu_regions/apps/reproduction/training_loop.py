"""The one loop of gradient descent, through epochs and their batches: how it is set, and when it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Descent", "Trainee", "run_epoch", "train_until_done"]


@dataclass(frozen=True, kw_only=True)
class Descent:
    """SGD on the cross entropy at a constant learning rate, and when it ends, whatever it trains.

    Attributes:
        learning_rate, momentum, weight_decay: as in `torch.optim.SGD`.
        batch_size: samples per step; the last step of an epoch takes what is left.
        target_loss: training ends once no training sample is misclassified and their mean loss is at most
            this. It is looked at after each epoch in which the samples, as they were visited, fulfilled the
            same: so it costs nothing before. ``math.inf`` ends training at zero error.
        max_epochs: training ends then at the latest.
        checkpoints: epochs after which the parameters are kept; 0 is before training.
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 32
    target_loss: float = 0.01
    max_epochs: int = 10_000
    checkpoints: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate < math.inf and 0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise ValueError(
                "learning_rate must be positive, momentum in [0, 1) and weight_decay not negative, got "
                f"{self.learning_rate}, {self.momentum} and {self.weight_decay}"
            )
        if self.batch_size < 1 or self.max_epochs < 1 or not self.target_loss > 0:
            raise ValueError(
                "batch_size, max_epochs and target_loss must be positive, got "
                f"{self.batch_size}, {self.max_epochs} and {self.target_loss}"
            )
        if any(not 0 <= epoch <= self.max_epochs for epoch in self.checkpoints):
            raise ValueError(f"checkpoints must lie in 0 to {self.max_epochs}, got {self.checkpoints}")

    def reached(self, loss: float, errors: int) -> bool:
        """Whether training has come to what it is for, by the mean loss and the number of errors."""
        return errors == 0 and loss <= self.target_loss

    def ends(self, epoch: int, loss: float, errors: int) -> bool:
        """Whether training ends with an epoch: it has reached its aim, is the last one allowed, or has diverged."""
        return self.reached(loss, errors) or epoch == self.max_epochs or not math.isfinite(loss)


class Trainee(Protocol):
    """What the loop trains: one network, or several side by side."""

    def order(self) -> Tensor:
        """The numbers of the samples in the order in which the next epoch visits them, (..., N) int64."""

    def step(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """A step on a batch, (..., B) of the order: sum of losses, float64, and number of errors, before the step."""

    def done(self, loss: Tensor, errors: Tensor) -> bool:
        """Whether training ends with the epoch behind it, in which the samples, as visited, had this mean loss."""


def train_until_done(trainee: Trainee, batch_size: int) -> None:
    """Epoch after epoch, until the trainee is done."""
    done = False
    while not done:
        done = trainee.done(*run_epoch(trainee, batch_size))


def run_epoch(trainee: Trainee, batch_size: int) -> tuple[Tensor, Tensor]:
    """One pass through the samples: their mean loss, float64, and the number of errors, as they were visited."""
    order = trainee.order()
    loss, errors = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
    for chosen in torch.split(order, batch_size, dim=-1):
        of_batch, wrong = trainee.step(chosen)
        loss, errors = loss + of_batch, errors + wrong
    return loss / order.shape[-1], errors
