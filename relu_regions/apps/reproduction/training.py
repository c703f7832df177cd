"""Training many networks of one architecture at once, cached and resumable (paper, section 4.1)."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from relu_regions.apps.reproduction.batched_sgd import (
    TrainingConfig,
    initial_parameters,
    layers_of,
    loss_and_errors,
    sample_order,
    step,
    unstack,
    vectors_of,
)
from relu_regions.apps.reproduction.cache import read_npz, save_npz
from relu_regions.apps.reproduction.training_loop import train_until_done

__all__ = ["TrainedNetwork", "side_by_side", "train"]

# Part of every cache key: raise it when the same configuration would give other networks.
_VERSION = 1
# Parameters that train side by side: larger networks go through memory at each step, and are faster one by one.
_TOGETHER = 1 << 18


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
        return self.config.reached(self.loss, self.errors)

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
    """Trains one network for each seed, as many in the same matrix products as a processor's cache holds.

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
        for start in range(0, len(members), side_by_side(config.widths)):
            group = members[start : start + side_by_side(config.widths)]
            while active := [member for member in group if member.final is None]:
                train_until_done(_SideBySide(active, rows, config, save_every, bar), config.batch_size)
                bar.update(sum(member.final is not None for member in active))
    return [member.network(config) for member in members]


def side_by_side(widths: Sequence[int]) -> int:
    """How many networks of these widths train in the same matrix products."""
    return max(1, _TOGETHER // sum(outputs * (inputs + 1) for inputs, outputs in pairwise(widths)))


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
        with read_npz(self.path, "train this network") as saved:
            final = saved["final"].tolist()
            self.final = (final[0], int(final[1])) if final else None
            self.losses, self.error_counts = saved["losses"].tolist(), saved["error_counts"].tolist()
            self.parameters = torch.from_numpy(saved["parameters"]).to(self.parameters)
            if self.final is None:
                self.velocity = torch.from_numpy(saved["velocity"]).to(self.velocity)
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
        parameters = initial_parameters(config, seed).to(x.device)
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


# ---------------------------------------------------------------- all networks at once


class _SideBySide:
    """Networks that train side by side until at least one is done."""

    def __init__(
        self, active: list[_Member], rows: Tensor, config: TrainingConfig, save_every: float, bar: tqdm[None]
    ) -> None:
        self.active, self.rows, self.config, self.save_every, self.bar = active, rows, config, save_every, bar
        self.layers = layers_of([member.parameters for member in active], config.widths)
        self.velocities = layers_of([member.velocity for member in active], config.widths)
        self.labels = torch.stack([member.labels for member in active])
        self.starts = torch.tensor([[member.start] for member in active], device=rows.device)
        self.saved = time.monotonic()

    def order(self) -> Tensor:
        """Each network's own, (networks, N): their epochs differ where one was taken up from the cache."""
        number = self.labels.shape[1]
        orders = [sample_order(member.seed, len(member.losses) + 1, number) for member in self.active]
        return torch.stack(orders).to(self.rows.device)

    def step(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """All networks at once."""
        samples, classes = self.rows[self.starts + chosen], self.labels.gather(1, chosen)
        return step(self.layers, self.velocities, samples, classes, self.config)

    def done(self, loss: Tensor, errors: Tensor) -> bool:
        """Whether one of them is done; keeps and saves what is due."""
        for member, mean, wrong in zip(self.active, loss.tolist(), errors.tolist()):
            member.losses.append(mean)
            member.error_counts.append(wrong)
        self.bar.set_postfix(epoch=len(self.active[0].losses), loss=f"{max(loss.tolist()):.2g}")
        ended = self._mark_done()
        save_due = time.monotonic() - self.saved >= self.save_every
        if ended or save_due or any(len(member.losses) in self.config.checkpoints for member in self.active):
            self._keep()
        if ended or save_due:
            for member in self.active:
                member.save()
            self.saved = time.monotonic()
        return ended

    def _mark_done(self) -> bool:
        """Marks the networks that are done; True if there is one."""
        ended = False
        for place, member in enumerate(self.active):
            epoch, loss = len(member.losses), member.losses[-1]
            if self.config.ends(epoch, loss, member.error_counts[-1]):
                samples = self.rows[member.start : member.start + len(member.labels)]
                final = loss_and_errors([layer[place : place + 1] for layer in self.layers], samples, member.labels)
                if self.config.ends(epoch, *final) or not math.isfinite(loss):
                    member.final, ended = final, True
        return ended

    def _keep(self) -> None:
        """Gives each network its parameters, and a checkpoint where one is wanted."""
        vectors = zip(self.active, vectors_of(self.layers), vectors_of(self.velocities))
        for member, parameters, velocity in vectors:
            member.parameters, member.velocity = parameters, velocity
            if len(member.losses) in self.config.checkpoints:
                member.checkpoints[len(member.losses)] = parameters


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
