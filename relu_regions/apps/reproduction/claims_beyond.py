"""Claim (a) where the paper leaves it open: networks with max pooling, and maxout; a family of tests of its own."""

from __future__ import annotations

from collections.abc import Callable

from relu_regions.apps.reproduction.claims import EXCESS, Claim, Results, excess
from relu_regions.apps.reproduction.networks import TRAININGS

__all__ = ["BEYOND_CLAIMS"]


def _with_momentum(panel: str) -> Callable[[Results, str], tuple[list[float], float]]:
    """What goes beyond the paper was trained with momentum alone."""
    panels = {training: panel for training, momentum in TRAININGS.items() if momentum}
    return lambda results, training: excess("beyond_pooling", panels[training])(results, training)


BEYOND_CLAIMS = tuple(
    Claim(f"(a) {title}", "the same", EXCESS, "4", True, _with_momentum(panel))
    for title, panel in (
        ("MNIST, max pooling", "cnn_mnist"),
        ("CIFAR-10, max pooling", "cnn_cifar10"),
        ("MNIST, maxout", "maxout_mnist"),
    )
)
