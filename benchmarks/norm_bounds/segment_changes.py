"""The chain of regions from a training sample to a validation sample: its identity, and what its bounds say."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from norm_bounds.networks import State
from relu_regions.paths.change import segment_change
from relu_regions.regions.lipschitz_bounds import margins, training_range
from relu_regions.walking.walker import walk

__all__ = ["segment_changes"]


def segment_changes(state: State, segments: int, factor: float) -> dict[str, Any]:
    """From the nearest training sample of its class, in the ∞-norm, to each of some validation samples.

    Validation samples have their true labels; for a network trained on random labels the training samples of a
    "class" are those that were labelled so.

    Args:
        segments: how many.
        factor: the K of the norm distribution assumption.
    """
    x = state.data.x_test[:segments].double()
    start, own = _nearest(state, x, state.data.y_test[:segments])
    moves = (x != start).any(1)
    x, start, own = x[moves], start[moves], own[moves]
    paths = walk(state.network, start, x - start, (0.0, 1.0), resolve="never", progress=False)
    found, norms = segment_change(paths), paths.norms(math.inf)
    with torch.no_grad():
        before, after = state.network(start), state.network(x)
    size = found.size
    segment = torch.arange(len(paths)).repeat_interleave(paths.region_counts)
    above = torch.zeros(len(paths), dtype=torch.int64).index_add_(0, segment, (norms > factor * state.linear).long())
    margin = margins(state.network, start, own)
    bounds = {
        "sum of lambda_k |W_k|": found.mean_norm,
        "largest row sum of |W_L|...|W_1|": torch.full_like(size, float(state.row_sums.max())),
        "product of |W_l|": torch.full_like(size, state.product),
        "K |W|, assumed": torch.full_like(size, factor * state.linear),
    }
    train_x, train_y = state.data.x_train.double(), state.data.y_train
    smallest = training_range(state.network, train_x, train_y)
    # The appendix's own radius: half of the training range, by the constant that it assumes for all samples.
    radius = smallest / (2 * factor * state.linear)
    return {
        "segments": len(paths),
        "regions": int(paths.region_counts.sum()),
        "median_regions": float(paths.region_counts.double().median()),
        "median_distance": float(found.distance.median()),
        # Of every logit on every segment, against the forward pass, relative to the largest logit at either end.
        "identity_error": float(
            ((found.sum - (after - before)).abs().amax(1) / torch.cat([before, after], 1).abs().amax(1)).max()
        ),
        "training_range": smallest,
        "appendix_radius": radius,
        "within_appendix_radius": float((found.distance <= radius).double().mean()),
        "least_distance": float(found.distance.min()),
        "median_training_margin": float(margins(state.network, train_x, train_y).median()),
        "median_change": float(size.median()),
        "same_label": float((after.argmax(1) == own).double().mean()),
        "variation_by_change": float((found.variation / size).median()),
        "median_regions_above_K": float(above.double().median()),
        "share_with_at_most_3_regions_above_K": float((above <= 3).double().mean()),
        "share_of_length_above_K": float(_lengths_above(paths.t, paths.region_rows, norms > factor * state.linear)),
        "bounds": {name: _tightness(bound * found.distance, size, margin) for name, bound in bounds.items()},
    }


def _tightness(bound: Tensor, size: Tensor, margin: Tensor) -> dict[str, float]:
    """How many times the change a bound is, how often it holds, and how often it keeps the label."""
    return {
        "median_by_change": float((bound / size).median()),
        "least_by_change": float((bound / size).min()),
        "holds": float((bound >= size * (1 - 1e-12)).double().mean()),
        "guarantees_the_label": float((2 * bound < margin).double().mean()),
    }


def _lengths_above(t: Tensor, rows: Tensor, above: Tensor) -> Tensor:
    lengths = t[rows + 1] - t[rows]
    return lengths[above].sum() / lengths.sum()


def _nearest(state: State, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest training sample of each point's class, and the class."""
    start = torch.empty_like(x)
    for label in torch.unique(labels).tolist():
        group = state.data.x_train[state.data.y_train == label].double()
        chosen = labels == label
        start[chosen] = group[torch.cdist(x[chosen], group, p=math.inf).argmin(1)]
    return start, labels
