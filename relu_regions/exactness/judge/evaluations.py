"""How the judge evaluates a network: one way after another where signs stay open, and one argument hears them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from relu_regions.exactness.judge.balls import Evaluation, RunningBounds
from relu_regions.exactness.judge.differences import DifferenceBounds
from relu_regions.exactness.judge.digits import DigitBounds
from relu_regions.network.network import Network
from relu_regions.network.plan import folded

__all__ = ["Evaluator", "as_differences", "in_float64", "with_digits", "with_two_digits"]

Evaluator = Callable[[Network, Tensor, Tensor], Evaluation[Any]]


def in_float64(network: Network, x: Tensor, d: Tensor) -> RunningBounds:
    """In float64 alone."""
    return RunningBounds(folded(network), x, d)


def as_differences(network: Network, x: Tensor, d: Tensor) -> DifferenceBounds:
    """In float64 differences from a row of each block that has a digit more."""
    return DifferenceBounds(network, folded(network), x, d, 1)


def with_digits(network: Network, x: Tensor, d: Tensor) -> DigitBounds:
    """With an exact digit more at every row."""
    return DigitBounds(network, folded(network), x, d, 1)


def with_two_digits(network: Network, x: Tensor, d: Tensor) -> DigitBounds:
    """With two exact digits more at every row."""
    return DigitBounds(network, folded(network), x, d, 2)
