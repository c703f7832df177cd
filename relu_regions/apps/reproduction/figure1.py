"""Figure 1: logits to a sample of the same class, to one of another class, and along random directions; real labels."""

from __future__ import annotations

from relu_regions.apps.reproduction.logits import logit_figure
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    return logit_figure(run, "figure1", "Figure 1: logits between samples, real labels", {"real": ("pairs",)})
