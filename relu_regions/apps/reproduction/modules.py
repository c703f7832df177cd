"""Training of other networks than perceptrons with ReLU, and with regularisation: one by one, by torch's optimizer."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from relu_regions.apps.reproduction.cache import read_npz, save_npz
from relu_regions.apps.reproduction.data import Dataset
from relu_regions.apps.reproduction.training_loop import Descent, train_until_done

__all__ = ["ARCHITECTURES", "FittedModule", "Maxout", "fit"]

_VERSION = 1


class Maxout(nn.Module):
    """The largest of several affine maps, for each unit (Goodfellow et al., Maxout Networks, 2013)."""

    def __init__(self, inputs: int, outputs: int, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        found: Tensor = self.linear(x)
        return found.view(x.shape[0], -1, self.pieces).amax(2)


def _cnn(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * (height // 4) * (width // 4), classes),
    )  # fmt: skip


def _maxout(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), Maxout(math.prod(shape), 64), Maxout(64, 64), nn.Linear(64, classes))


def _perceptron(shape: tuple[int, ...], classes: int, dropout: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (math.prod(shape), 128, 128):
        layers += [nn.Linear(inputs, 128), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(128, classes))


ARCHITECTURES: dict[str, Callable[[tuple[int, ...], int], nn.Sequential]] = {
    "cnn": _cnn,
    "maxout": _maxout,
    "perceptron": _perceptron,
    "dropout": lambda shape, classes: _perceptron(shape, classes, 0.5),
}


@dataclass(frozen=True, eq=False)
class FittedModule:
    """One network after its training, as `relu_regions.apps.reproduction.training.TrainedNetwork`.

    Attributes:
        build: makes the architecture anew.
        states: parameters by epoch; -1 for the last.
        epochs: how many training took.
        loss, errors: mean loss and number of misclassified training samples at the end, in eval mode.
    """

    build: Callable[[], nn.Sequential]
    states: dict[int, dict[str, Tensor]]
    epochs: int
    loss: float
    errors: int

    def model(self, epoch: int | None = None) -> nn.Sequential:
        """The final network, or that after an epoch that was kept (KeyError otherwise), in eval mode."""
        model = self.build()
        model.load_state_dict(self.states[-1 if epoch is None else epoch])
        return model.eval()


def fit(
    architecture: str,
    data: Dataset,
    seed: int,
    descent: Descent,
    *,
    cache_dir: Path,
    augment: int = 0,
) -> FittedModule:
    """Trains by SGD on the cross entropy until no training sample is misclassified and the loss is small.

    Args:
        architecture: one of `ARCHITECTURES`.
        data: training samples, images.
        seed: of first weights, order, dropout and shifts.
        descent: how to train, and when to end.
        cache_dir: where the network is kept under a hash of all of this.
        augment: images are shifted by up to so many pixels in each direction, anew each time.

    Raises:
        ValueError: the file in ``cache_dir`` is damaged.
    """
    shape, classes = tuple(data.x_train.shape[1:]), data.classes
    d = descent
    rates, ends = [d.learning_rate, d.momentum, d.weight_decay], [d.target_loss, d.max_epochs]
    options = [*rates, d.batch_size, *ends, augment, list(d.checkpoints)]

    def build() -> nn.Sequential:
        return ARCHITECTURES[architecture](shape, classes)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        key = hashlib.sha256(json.dumps([_VERSION, architecture, str(model), seed, options]).encode())
        for tensor in (data.x_train, data.y_train):
            key.update(tensor.numpy().tobytes())
        path = cache_dir / f"{architecture}-{key.hexdigest()[:32]}.npz"
        if path.exists():
            return _read(path, build)
        # Dropout and shifts make the samples harder than they are: those are judged without, every few epochs.
        one = _One(model, data, descent, augment, 5 if augment or architecture == "dropout" else d.max_epochs)
        train_until_done(one, d.batch_size)
    states = {**one.states, -1: _state(model)}
    arrays = {f"{at}/{name}": value.numpy() for at, state in states.items() for name, value in state.items()}
    save_npz(path, {**arrays, "result": np.array([one.epoch, *one.judged])})
    return FittedModule(build, states, one.epoch, *one.judged)


class _One:
    """A module in training, by torch's optimizer."""

    def __init__(self, model: nn.Module, data: Dataset, descent: Descent, augment: int, judge_every: int) -> None:
        self.model, self.data, self.descent, self.augment, self.judge_every = model, data, descent, augment, judge_every
        self.optimizer = torch.optim.SGD(
            model.parameters(), descent.learning_rate, descent.momentum, weight_decay=descent.weight_decay
        )
        self.states = {0: _state(model)} if 0 in descent.checkpoints else {}
        self.epoch, self.judged = 0, (math.nan, -1)

    def order(self) -> Tensor:
        """As torch draws it, (N,)."""
        self.model.train()
        return torch.randperm(len(self.data.x_train))

    def step(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """With gradients by autograd."""
        x, labels = self.data.x_train[chosen], self.data.y_train[chosen]
        logits = self.model(_shifted(x, self.augment) if self.augment else x)
        loss = nn.functional.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach().double() * len(chosen), (logits.argmax(1) != labels).sum()

    def done(self, loss: Tensor, errors: Tensor) -> bool:
        """Whether it is, in eval mode; keeps a checkpoint where one is wanted."""
        self.epoch += 1
        if self.epoch in self.descent.checkpoints:
            self.states[self.epoch] = _state(self.model)
        if not self.descent.ends(self.epoch, float(loss), int(errors)) and self.epoch % self.judge_every:
            return False
        self.judged = _judge(self.model, self.data)
        return self.descent.ends(self.epoch, *self.judged)


def _shifted(images: Tensor, most: int) -> Tensor:
    """Each image moved by up to ``most`` pixels, with zeros behind it."""
    height, width = images.shape[-2:]
    padded = nn.functional.pad(images, (most,) * 4)
    starts = torch.randint(0, 2 * most + 1, (len(images), 2)).tolist()
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, starts)])


def _judge(model: nn.Module, data: Dataset) -> tuple[float, int]:
    model.eval()
    with torch.no_grad():
        logits = model(data.x_train)
    loss = nn.functional.cross_entropy(logits, data.y_train)
    return float(loss), int((logits.argmax(1) != data.y_train).sum())


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _read(path: Path, build: Callable[[], nn.Sequential]) -> FittedModule:
    states: dict[int, dict[str, Tensor]] = {}
    with read_npz(path, "train this network") as saved:
        epoch, loss, errors = saved.pop("result").tolist()
        for name, value in saved.items():
            at, _, parameter = name.partition("/")
            states.setdefault(int(at), {})[parameter] = torch.from_numpy(value)
    return FittedModule(build, states, int(epoch), loss, int(errors))
