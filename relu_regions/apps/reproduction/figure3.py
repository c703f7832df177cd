"""Figure 3: figures 1 and 2 for random labels."""

from __future__ import annotations

from relu_regions.apps.reproduction.logits import logit_figure
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    title = "Figure 3: logits between samples and by principal components, random labels"
    return logit_figure(run, "figure3", title, {"random": ("pairs", "components")})
