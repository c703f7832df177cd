"""Which logits compete for the class of a point, and what they decide: the one place that says so.

The class is that of the largest logit; of several that are as large, the first. Of a network with a single output that
is the logit of class 1, and the logit of class 0 is 0 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Decision"]

Number = TypeVar("Number")


@dataclass(frozen=True)
class Decision:
    """Which classes compete, and how their logits follow from the network's outputs.

    Outputs are ``(P, outputs)`` of any floating-point dtype; logits are ``(P, k)``, a column for each competing class.

    Attributes:
        outputs: how many numbers the network gives for one input.
        classes: the k classes that compete, in increasing order.
    """

    outputs: int
    classes: tuple[int, ...]

    @classmethod
    def of(cls, output_shape: Sequence[int], decision: Sequence[int] | None = None) -> Decision:
        """The decision between all classes of a network, or some of them.

        Args:
            output_shape: of the network's output for one input.
            decision: the classes that compete, two or more different ones; all by default.

        Raises:
            TypeError: decision is not made of integers.
            ValueError: the output is no vector of logits, or decision does not name two or more different classes.
        """
        shape = tuple(output_shape)
        if len(shape) != 1 or shape[0] == 0:
            raise ValueError(
                f"The model's output for one input has shape {shape}; a class needs a vector of logits. "
                "If each position has a class, choose one: give a model that returns outputs[:, :, row, column]."
            )
        every = range(max(2, shape[0]))
        chosen = list(every) if decision is None else _integers(decision)
        if len(set(chosen)) != len(chosen) or len(chosen) < 2 or not all(label in every for label in chosen):
            raise ValueError(
                f"decision must name two or more different classes from 0 to {len(every) - 1}, not {decision!r}."
            )
        return cls(shape[0], tuple(sorted(chosen)))

    @property
    def count(self) -> int:
        """How many classes the network tells apart, whether they compete or not."""
        return max(2, self.outputs)

    def logits(self, outputs: Tensor) -> Tensor:
        """The logits that compete, ``(P, k)``."""
        if self.outputs == 1:
            return torch.cat([torch.zeros_like(outputs), outputs], 1)
        return outputs if len(self.classes) == self.outputs else outputs[:, self._classes_on(outputs.device)]

    def competing(self, outputs: Sequence[Number], zero: Number) -> dict[int, Number]:
        """The logits that compete, by class, of one point or function, in any arithmetic.

        Args:
            outputs: what the network gives.
            zero: of their kind.
        """
        return {0: zero, 1: outputs[0]} if self.outputs == 1 else {label: outputs[label] for label in self.classes}

    def labels(self, outputs: Tensor) -> Tensor:
        """The classes that win, ``(P,)`` int64; of those that tie the first."""
        return self.named(self.logits(outputs).argmax(1))

    def ties(self, outputs: Tensor) -> Tensor:
        """Whether several classes share the largest logit, ``(P,)`` bool."""
        logits = self.logits(outputs)
        return (logits == logits.amax(1, keepdim=True)).sum(1) > 1

    def leads(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """How far the logit of each point's label is ahead of every one, ``(P, k)``; inf ahead of itself.

        Args:
            labels: ``(P,)`` int64, classes that compete.
        """
        logits, own = self.logits(outputs), self.places(labels)[:, None]
        return (logits.gather(1, own) - logits).scatter_(1, own, math.inf)

    def margins(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The logit of each point's label less the largest other, ``(P,)``; negative where another class wins."""
        return self.leads(outputs, labels).amin(1)

    def named(self, places: Tensor) -> Tensor:
        """The classes of columns of the logits; -1, for none, remains."""
        if len(self.classes) == self.count:
            return places
        return torch.where(places < 0, places, self._classes_on(places.device)[places.clamp_min(0)])

    def places(self, labels: Tensor) -> Tensor:
        """The columns of classes that compete among the logits."""
        return (
            labels if len(self.classes) == self.count else torch.searchsorted(self._classes_on(labels.device), labels)
        )

    def _classes_on(self, device: torch.device) -> Tensor:
        return torch.tensor(self.classes, device=device)


def _integers(decision: Sequence[int]) -> list[int]:
    try:
        if not any(isinstance(label, bool) for label in decision):
            return [index(label) for label in decision]
    except TypeError:
        pass
    raise TypeError(
        f"decision must be a sequence of integers, the classes that compete, such as [0, 1], not {decision!r}."
    )
