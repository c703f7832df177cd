"""Figure 2: logits along a tangent, a normal and a minor direction of a class; real labels: claim (f)."""

from __future__ import annotations

from relu_regions.apps.reproduction.logits import logit_figure
from relu_regions.apps.reproduction.results import Run
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures."""
    return logit_figure(
        run, "figure2", "Figure 2: logits by principal components, real labels", {"real": ("components",)}
    )
