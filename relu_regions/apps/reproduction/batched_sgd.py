"""Gradient descent of many networks of one architecture side by side, all in the same matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from relu_regions.apps.reproduction.training_loop import Descent

__all__ = [
    "TrainingConfig",
    "initial_parameters",
    "layers_of",
    "loss_and_errors",
    "sample_order",
    "step",
    "unstack",
    "vectors_of",
]


@dataclass(frozen=True)
class TrainingConfig(Descent):
    """How to train multilayer perceptrons with ReLU.

    The paper gives widths, learning rate and "random uniform" weights; the rest it leaves open.

    Attributes:
        widths: inputs, hidden layers, classes, such as (784, 128, 128, 128, 10).
        initialisation: "fan_in", weights and biases uniform within ±1 / √inputs, which is torch's own; or
            "fixed", weights uniform within ±0.05 and biases 0, which is what Keras calls random uniform.
    """

    widths: tuple[int, ...]
    initialisation: Literal["fan_in", "fixed"] = "fan_in"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths must be two or more positive numbers, got {self.widths}")
        if self.initialisation not in ("fan_in", "fixed"):
            raise ValueError(f"initialisation must be 'fan_in' or 'fixed', got {self.initialisation!r}")


# ---------------------------------------------------------------- parameters


def initial_parameters(config: TrainingConfig, seed: int) -> Tensor:
    """The initial weights and biases of one network, (P,) float32, in the order of ``Module.parameters()``."""
    generator = np.random.default_rng([seed, 0])
    parts = []
    for inputs, outputs in pairwise(config.widths):
        weight_bound, bias_bound = (0.05, 0.0) if config.initialisation == "fixed" else (inputs**-0.5,) * 2
        parts.append(generator.uniform(-weight_bound, weight_bound, outputs * inputs))
        parts.append(generator.uniform(-bias_bound, bias_bound, outputs))
    return torch.from_numpy(np.concatenate(parts)).float()


def layers_of(vectors: list[Tensor], widths: Sequence[int]) -> list[Tensor]:
    """The weights (networks, outputs, inputs) and biases (networks, outputs) of every layer, in turn."""
    layers = [part.contiguous() for part in torch.split(torch.stack(vectors), _sizes(widths), dim=1)]
    for place, inputs in enumerate(widths[:-1]):
        layers[2 * place] = layers[2 * place].view(len(vectors), -1, inputs)
    return layers


def vectors_of(layers: list[Tensor]) -> list[Tensor]:
    """The parameters of each network as a vector of its own."""
    return [vector.clone() for vector in torch.cat([layer.flatten(1) for layer in layers], dim=1)]


def unstack(parameters: Tensor, widths: Sequence[int]) -> list[nn.Sequential]:
    """Ordinary networks of linear layers and ReLU, in eval mode.

    Args:
        parameters: (M, P), a row for each network in the order of ``Module.parameters()``.
        widths: inputs, hidden layers, classes.

    Raises:
        ValueError: if P does not fit the widths.
    """
    number = sum(_sizes(widths))
    if parameters.ndim != 2 or parameters.shape[1] != number:
        raise ValueError(
            f"widths {tuple(widths)} need parameters of shape (M, {number}), got {tuple(parameters.shape)}"
        )
    models = []
    for vector in parameters:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            # Not nn.Linear's own first weights: they would draw from the caller's random numbers.
            layers += [nn.Linear(inputs, outputs, device="meta", dtype=vector.dtype), nn.ReLU()]
        model = nn.Sequential(*layers[:-1]).to_empty(device=vector.device)
        with torch.no_grad():
            for parameter, values in zip(model.parameters(), torch.split(vector, _sizes(widths))):
                parameter.copy_(values.view_as(parameter))
        models.append(model.eval())
    return models


def _sizes(widths: Sequence[int]) -> list[int]:
    """Of the weights and biases of every layer, in turn."""
    return [size for inputs, outputs in pairwise(widths) for size in (outputs * inputs, outputs)]


# ---------------------------------------------------------------- a step


def sample_order(seed: int, epoch: int, number: int) -> Tensor:
    """The order of the samples in an epoch, counted from 1."""
    # A function of these three: to go on with a training, no state of a generator has to be kept.
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(number))


def step(
    layers: list[Tensor], velocities: list[Tensor], samples: Tensor, classes: Tensor, config: TrainingConfig
) -> tuple[Tensor, Tensor]:
    """One step of M networks on a batch each, in place.

    Args:
        layers: of all networks, as `layers_of` gives them.
        velocities: of the same shapes; what momentum keeps.
        samples: (M, B, inputs) float32.
        classes: (M, B) int64.
        config: how to train.

    Returns:
        The sum of the losses, (M,) float64, and the number of errors, (M,) int64, before the step.
    """
    activations = _forward(layers, samples)
    log_probabilities = activations[-1].log_softmax(2)
    losses = -log_probabilities.gather(2, classes[..., None]).sum((1, 2), dtype=torch.float64)
    errors = (log_probabilities.argmax(2) != classes).sum(1)
    _descend(layers, velocities, activations, log_probabilities, classes, config)
    return losses, errors


def _forward(layers: list[Tensor], x: Tensor) -> list[Tensor]:
    """The inputs of every layer and, last, the logits: (networks, samples, width) each."""
    activations = [x]
    for weight, bias in zip(layers[::2], layers[1::2]):
        if len(activations) > 1:
            activations[-1].relu_()
        activations.append(torch.baddbmm(bias[:, None], activations[-1], weight.mT))
    return activations


def _descend(
    layers: list[Tensor],
    velocities: list[Tensor],
    activations: list[Tensor],
    log_probabilities: Tensor,
    classes: Tensor,
    config: TrainingConfig,
) -> None:
    """A step of SGD, as torch.optim.SGD takes it.

    The gradients are written out: on small batches autograd and an optimizer take longer than the products.
    """
    gradient = log_probabilities.exp()
    gradient.scatter_add_(2, classes[..., None], gradient.new_full((1, 1, 1), -1.0).expand(*classes.shape, 1))
    gradient /= classes.shape[1]
    for place in reversed(range(len(layers) // 2)):
        weight, bias = layers[2 * place : 2 * place + 2]
        inputs = activations[place]
        # Those of the layer before, from the weights as they were.
        earlier = torch.bmm(gradient, weight).mul_(inputs > 0) if place else gradient
        if config.momentum == 0:
            kept = 1 - config.learning_rate * config.weight_decay
            weight.baddbmm_(gradient.mT, inputs, beta=kept, alpha=-config.learning_rate)
            bias.mul_(kept).sub_(gradient.sum(1), alpha=config.learning_rate)
        else:
            velocity, bias_velocity = velocities[2 * place : 2 * place + 2]
            velocity.baddbmm_(gradient.mT, inputs, beta=config.momentum)
            bias_velocity.mul_(config.momentum).add_(gradient.sum(1))
            for moved, by in ((weight, velocity), (bias, bias_velocity)):
                if config.weight_decay:
                    by.add_(moved, alpha=config.weight_decay)
                moved.sub_(by, alpha=config.learning_rate)
        gradient = earlier


def loss_and_errors(layers: list[Tensor], samples: Tensor, labels: Tensor) -> tuple[float, int]:
    """Mean loss and number of misclassified samples of one network."""
    logits = _forward(layers, samples[None])[-1][0]
    loss = nn.functional.cross_entropy(logits.double(), labels)
    return float(loss), int((logits.argmax(1) != labels).sum())
