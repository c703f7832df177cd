"""Training many networks of one architecture at once, cached and resumable (paper, section 4.1)."""

from __future__ import annotations

import hashlib
import json
import math
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from relu_regions.experiments.data import save_npz

__all__ = ["TrainedNetwork", "TrainingConfig", "train", "unstack"]

# Part of every cache key: raise it when the same configuration would give other networks.
_VERSION = 1


@dataclass(frozen=True)
class TrainingConfig:
    """How to train multilayer perceptrons with ReLU: SGD on the cross entropy, at a constant learning rate.

    The paper gives widths, learning rate and "random uniform" weights; the rest it leaves open.

    Attributes:
        widths: inputs, hidden layers, classes, such as (784, 128, 128, 128, 10).
        learning_rate, momentum, weight_decay: as in `torch.optim.SGD`.
        batch_size: samples per step; the last step of an epoch takes what is left.
        initialisation: "fan_in", weights and biases uniform within ±1 / √inputs, which is torch's own; or
            "fixed", weights uniform within ±0.05 and biases 0, which is what Keras calls random uniform.
        target_loss: training ends once no training sample is misclassified and their mean loss is at most
            this. It is looked at after each epoch in which the samples, as they were visited, fulfilled the
            same: so it costs nothing before. ``math.inf`` ends training at zero error.
        max_epochs: training ends then at the latest.
        checkpoints: epochs after which the parameters are kept; 0 is before training.
    """

    widths: tuple[int, ...]
    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 32
    initialisation: Literal["fan_in", "fixed"] = "fan_in"
    target_loss: float = 0.01
    max_epochs: int = 10_000
    checkpoints: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths must be two or more positive numbers, got {self.widths}")
        if self.initialisation not in ("fan_in", "fixed"):
            raise ValueError(f"initialisation must be 'fan_in' or 'fixed', got {self.initialisation!r}")
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


@dataclass(frozen=True, eq=False, repr=False)
class TrainedNetwork:
    """One network after its training.

    Attributes:
        config: how it was trained.
        seed: of its first weights and of the order of the samples in each epoch.
        parameters: (P,) float32, CPU, in the order of ``model().parameters()``.
        checkpoints: the same after each epoch asked for, as far as training went.
        epochs: how many it took.
        losses: (epochs,) float64: mean loss of the samples in each epoch, when they were visited.
        error_counts: (epochs,) int64: how many of them were misclassified then.
        loss, errors: mean loss and number of misclassified training samples of the final network.
    """

    config: TrainingConfig
    seed: int
    parameters: Tensor
    checkpoints: dict[int, Tensor]
    losses: Tensor
    error_counts: Tensor
    loss: float
    errors: int

    @property
    def epochs(self) -> int:
        """The number of epochs that training took."""
        return len(self.losses)

    @property
    def converged(self) -> bool:
        """Whether the training error is 0 and the loss no larger than asked for."""
        return _reached(self.config, self.loss, self.errors)

    def model(self, epoch: int | None = None) -> nn.Sequential:
        """The final network, or that after an epoch of ``config.checkpoints``, float32 and in eval mode.

        Raises:
            KeyError: where nothing was kept after that epoch.
        """
        if epoch is None:
            return unstack(self.parameters[None], self.config.widths)[0]
        if epoch not in self.checkpoints:
            raise KeyError(f"no checkpoint after epoch {epoch}; there are {sorted(self.checkpoints)}")
        return unstack(self.checkpoints[epoch][None], self.config.widths)[0]

    def __repr__(self) -> str:
        return (
            f"TrainedNetwork(widths={self.config.widths}, seed={self.seed}, epochs={self.epochs}, "
            f"loss={self.loss:.3g}, errors={self.errors})"
        )


def train(
    x: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    config: TrainingConfig,
    *,
    cache_dir: str | Path | None = None,
    save_every: float = 20.0,
    progress: bool | None = None,
) -> list[TrainedNetwork]:
    """Trains one network for each seed, all in the same matrix products.

    Each network is what it would be alone, up to the rounding in products of another size: its first weights
    and the order of its samples come from its own seed. It leaves the products when it is done.

    Args:
        x: (N, inputs) float, the samples of every network, or (len(seeds), N, inputs). Taken as float32;
            training runs where x lies.
        labels: (N,) int64, or (len(seeds), N) for a set of labels for each network.
        seeds: one for each network, not negative.
        config: how to train.
        cache_dir: folder where each network is kept, under a hash of configuration, seed, samples and labels.
            What is there is not trained again, and what was interrupted goes on from where it was last saved.
        save_every: seconds between saves of unfinished networks.
        progress: show a progress bar; by default only in a terminal.

    Returns:
        One network for each seed, in their order. A network that reached ``max_epochs``, or whose loss became
        infinite, is there too: see ``converged``.

    Raises:
        TypeError: for samples that are not float or labels that are not int64.
        ValueError: for shapes that do not match, samples that are not finite, labels that are not classes, or
            a damaged file in ``cache_dir``.
    """
    x, labels = _checked(x, labels, seeds, config)
    members = _members(x, labels, seeds, config, None if cache_dir is None else Path(cache_dir))
    rows = x.reshape(-1, x.shape[-1])
    with tqdm(total=len(members), unit="network", disable=None if progress is None else not progress) as bar:
        while active := [member for member in members if member.final is None]:
            bar.update(len(members) - len(active) - bar.n)
            _train_until_one_ends(active, rows, config, save_every, bar)
        bar.update(len(members) - bar.n)
    return [member.network(config) for member in members]


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


# ---------------------------------------------------------------- one network in training


@dataclass
class _Member:
    """All that is needed to go on with a network, at the end of an epoch."""

    seed: int
    start: int  # of its samples among the rows of all samples
    labels: Tensor
    path: Path | None
    parameters: Tensor
    velocity: Tensor
    checkpoints: dict[int, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    error_counts: list[int] = field(default_factory=list)
    final: tuple[float, int] | None = None  # loss and errors, once it is done

    def save(self) -> None:
        if self.path is None:
            return
        arrays = {
            "parameters": self.parameters.cpu().numpy(),
            "velocity": self.velocity.cpu().numpy() if self.final is None else np.empty(0, np.float32),
            "losses": np.array(self.losses),
            "error_counts": np.array(self.error_counts, dtype=np.int64),
            "final": np.array([] if self.final is None else self.final, dtype=np.float64),
        }
        for epoch, parameters in self.checkpoints.items():
            arrays[f"checkpoint{epoch}"] = parameters.cpu().numpy()
        save_npz(self.path, arrays)

    def restore(self) -> None:
        """Takes up what was saved, if anything was."""
        if self.path is None or not self.path.exists():
            return
        try:
            with np.load(self.path, allow_pickle=False) as file:
                saved = {key: file[key] for key in file}
            final = saved["final"].tolist()
            self.final = (final[0], int(final[1])) if final else None
            self.losses, self.error_counts = saved["losses"].tolist(), saved["error_counts"].tolist()
            self.parameters = torch.from_numpy(saved["parameters"]).to(self.parameters)
            if self.final is None:
                self.velocity = torch.from_numpy(saved["velocity"]).to(self.velocity)
        except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path} is damaged ({error}): delete it to train this network again") from error
        kept = [key for key in saved if key.startswith("checkpoint")]
        self.checkpoints = {int(key[len("checkpoint") :]): torch.from_numpy(saved[key]) for key in kept}

    def network(self, config: TrainingConfig) -> TrainedNetwork:
        loss, errors = self.final or (math.nan, -1)
        return TrainedNetwork(
            config,
            self.seed,
            self.parameters.cpu(),
            {epoch: parameters.cpu() for epoch, parameters in sorted(self.checkpoints.items())},
            torch.tensor(self.losses, dtype=torch.float64),
            torch.tensor(self.error_counts, dtype=torch.int64),
            loss,
            errors,
        )


def _members(
    x: Tensor, labels: Tensor, seeds: Sequence[int], config: TrainingConfig, folder: Path | None
) -> list[_Member]:
    digests = [hashlib.sha256(samples.cpu().numpy().tobytes()).digest() for samples in x]
    members = []
    for place, seed in enumerate(seeds):
        of_samples = place if len(x) > 1 else 0
        parameters = _initial_parameters(config, seed).to(x.device)
        member = _Member(seed, of_samples * x.shape[1], labels[place], None, parameters, torch.zeros_like(parameters))
        if 0 in config.checkpoints:
            member.checkpoints[0] = parameters
        if folder is not None:
            key = json.dumps([_VERSION, asdict(config), int(seed), tuple(x.shape[1:])], sort_keys=True).encode()
            hashed = hashlib.sha256(key + digests[of_samples] + labels[place].cpu().numpy().tobytes())
            member.path = folder / f"{hashed.hexdigest()[:32]}.npz"
            member.restore()
        members.append(member)
    return members


def _initial_parameters(config: TrainingConfig, seed: int) -> Tensor:
    generator = np.random.default_rng([seed, 0])
    parts = []
    for inputs, outputs in pairwise(config.widths):
        weight_bound, bias_bound = (0.05, 0.0) if config.initialisation == "fixed" else (inputs**-0.5,) * 2
        parts.append(generator.uniform(-weight_bound, weight_bound, outputs * inputs))
        parts.append(generator.uniform(-bias_bound, bias_bound, outputs))
    return torch.from_numpy(np.concatenate(parts)).float()


def _sample_order(seed: int, epoch: int, number: int) -> Tensor:
    """The order of the samples in an epoch, counted from 1."""
    # A function of these three: to go on with a training, no state of a generator has to be kept.
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(number))


def _sizes(widths: Sequence[int]) -> list[int]:
    """Of the weights and biases of every layer, in turn."""
    return [size for inputs, outputs in pairwise(widths) for size in (outputs * inputs, outputs)]


def _reached(config: TrainingConfig, loss: float, errors: int) -> bool:
    return errors == 0 and loss <= config.target_loss


# ---------------------------------------------------------------- all networks at once


def _train_until_one_ends(
    active: list[_Member], rows: Tensor, config: TrainingConfig, save_every: float, bar: tqdm[None]
) -> None:
    """Trains the networks side by side until at least one is done."""
    layers = _stack([member.parameters for member in active], config.widths)
    velocities = _stack([member.velocity for member in active], config.widths)
    labels = torch.stack([member.labels for member in active])
    starts = torch.tensor([[member.start] for member in active], device=rows.device)
    number, saved = labels.shape[1], time.monotonic()
    while True:
        orders = [_sample_order(member.seed, len(member.losses) + 1, number) for member in active]
        order = torch.stack(orders).to(rows.device)
        losses, errors = _epoch(layers, velocities, rows, starts, labels, order, config)
        for member, loss, wrong in zip(active, losses, errors):
            member.losses.append(loss)
            member.error_counts.append(wrong)
        bar.set_postfix(epoch=len(active[0].losses), loss=f"{max(losses):.2g}")
        ended = _settle(active, layers, rows, config)
        save_due = time.monotonic() - saved >= save_every
        if ended or save_due or any(len(member.losses) in config.checkpoints for member in active):
            for member, parameters, velocity in zip(active, _unstacked(layers), _unstacked(velocities)):
                member.parameters, member.velocity = parameters, velocity
                if len(member.losses) in config.checkpoints:
                    member.checkpoints[len(member.losses)] = parameters
        if ended or save_due:
            for member in active:
                member.save()
            saved = time.monotonic()
        if ended:
            return


def _settle(active: list[_Member], layers: list[Tensor], rows: Tensor, config: TrainingConfig) -> bool:
    """Marks the networks that are done; True if there is one."""
    ended = False
    for place, member in enumerate(active):
        loss, errors = member.losses[-1], member.error_counts[-1]
        last = len(member.losses) == config.max_epochs or not math.isfinite(loss)
        if last or _reached(config, loss, errors):
            samples = rows[member.start : member.start + len(member.labels)]
            final = _loss_and_errors([layer[place : place + 1] for layer in layers], samples, member.labels)
            if last or _reached(config, *final):
                member.final, ended = final, True
    return ended


def _epoch(
    layers: list[Tensor],
    velocities: list[Tensor],
    rows: Tensor,
    starts: Tensor,
    labels: Tensor,
    order: Tensor,
    config: TrainingConfig,
) -> tuple[list[float], list[int]]:
    """One pass through the samples, in place: mean losses and numbers of errors when they were visited."""
    loss = torch.zeros(len(labels), dtype=torch.float64, device=rows.device)
    errors = torch.zeros(len(labels), dtype=torch.int64, device=rows.device)
    for chosen in torch.split(order, config.batch_size, dim=1):
        classes = labels.gather(1, chosen)
        activations = _forward(layers, rows[starts + chosen])
        log_probabilities = activations[-1].log_softmax(2)
        loss -= log_probabilities.gather(2, classes[..., None]).sum((1, 2), dtype=torch.float64)
        errors += (log_probabilities.argmax(2) != classes).sum(1)
        _descend(layers, velocities, activations, log_probabilities, classes, config)
    return (loss / order.shape[1]).tolist(), errors.tolist()


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


def _loss_and_errors(layers: list[Tensor], samples: Tensor, labels: Tensor) -> tuple[float, int]:
    """Mean loss and number of misclassified samples of one network."""
    logits = _forward(layers, samples[None])[-1][0]
    loss = nn.functional.cross_entropy(logits.double(), labels)
    return float(loss), int((logits.argmax(1) != labels).sum())


def _stack(vectors: list[Tensor], widths: Sequence[int]) -> list[Tensor]:
    """The weights (networks, outputs, inputs) and biases (networks, outputs) of every layer, in turn."""
    layers = [part.contiguous() for part in torch.split(torch.stack(vectors), _sizes(widths), dim=1)]
    for place, inputs in enumerate(widths[:-1]):
        layers[2 * place] = layers[2 * place].view(len(vectors), -1, inputs)
    return layers


def _unstacked(layers: list[Tensor]) -> list[Tensor]:
    """The parameters of each network as a vector of its own."""
    return [vector.clone() for vector in torch.cat([layer.flatten(1) for layer in layers], dim=1)]


def _checked(x: Tensor, labels: Tensor, seeds: Sequence[int], config: TrainingConfig) -> tuple[Tensor, Tensor]:
    """Samples (1 or networks, N, inputs) float32, and labels (networks, N)."""
    if not x.is_floating_point() or labels.dtype != torch.int64:
        raise TypeError(f"x must be float and labels int64, got {x.dtype} and {labels.dtype}")
    networks, inputs, classes = len(seeds), config.widths[0], config.widths[-1]
    if networks == 0 or min(seeds) < 0:
        raise ValueError(f"seeds must be one or more numbers that are not negative, got {list(seeds)}")
    if x.ndim not in (2, 3) or x.shape[-1] != inputs or (x.ndim == 3 and len(x) != networks):
        raise ValueError(
            f"x must have shape (N, {inputs}) or ({networks}, N, {inputs}) for widths {config.widths} and "
            f"{networks} seeds, got {tuple(x.shape)}"
        )
    number = x.shape[-2]
    if number == 0 or tuple(labels.shape) not in ((number,), (networks, number)):
        raise ValueError(f"labels must have shape ({number},) or ({networks}, {number}), got {tuple(labels.shape)}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be classes from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    if not torch.isfinite(x).all():
        raise ValueError("x must be finite, got NaN or infinity in it")
    return x.detach().float().reshape(-1, number, inputs), labels.to(x.device).expand(networks, number)
