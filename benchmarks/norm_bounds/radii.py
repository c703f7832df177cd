"""Guaranteed radii against how far the class really holds: along lines exactly, and everywhere by a MILP."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from norm_bounds.minimal_distance import minimal_distance
from norm_bounds.networks import State
from relu_regions.intervals.interval import exact_interval
from relu_regions.regions.affine_maps import affine_map
from relu_regions.regions.lipschitz_bounds import guaranteed_radius

__all__ = ["along_lines", "of_small_networks", "steepest_directions"]


def along_lines(state: State, samples: int, factor: float) -> dict[str, Any]:
    """Radii around training samples, and the exact distance to another class along lines.

    Each sample has 20 lines of length 1 in the ∞-norm: along random signs, and along the signs by which another
    logit gains most on its own, in the sample's region. Only samples that the network classifies as labelled.

    Args:
        samples: how many.
        factor: the K of the norm distribution assumption.
    """
    x, labels = _classified(state, samples)
    distance = _exact_distance(state, x, labels)
    return {"samples": len(x), **_compared(_radii(state, x, labels, factor), distance)}


def of_small_networks(state: State, samples: int, factor: float) -> dict[str, Any]:
    """The same against the true distance in all directions, by a MILP for each sample that some line leaves."""
    x, labels = _classified(state, samples)
    along = _exact_distance(state, x, labels)
    x, labels, along = (part[torch.isfinite(along)] for part in (x, labels, along))
    # The library finds a point of another class at this distance: the box need not reach farther.
    found = [minimal_distance(state.model, p.numpy(), r * (1 + 1e-9)) for p, r in zip(x, along.tolist())]
    if any(nearest is None for nearest in found):
        raise RuntimeError("the MILP found no other class where the exact interval ends")
    true = torch.tensor([nearest.distance for nearest in found], dtype=torch.float64)
    points = torch.from_numpy(np.stack([nearest.point for nearest in found]))
    other = torch.tensor([nearest.label for nearest in found])
    ends = exact_interval(state.network, x, points - x, (0.0, 2.0))
    with torch.no_grad():
        logits = state.network(points)
    gaps = logits.gather(1, labels[:, None]) - logits.gather(1, other[:, None])
    return {
        "samples": len(x),
        "median_true_distance": float(true.median()),
        # At the MILP's point both logits must be equal, and on the way there the class must hold. It may hold beyond,
        # where the line only touches the other class's region.
        "largest_gap_at_the_point": float((gaps[:, 0].abs() / logits.abs().amax(1)).max()),
        "class_ends_earlier_by": float((1 - ends.hi).clamp_min(0).max()),
        "true_by_exact_along_lines": float((true / along).median()),
        **_compared(_radii(state, x, labels, factor), true),
    }


def steepest_directions(state: State, x: Tensor, labels: Tensor) -> Tensor:
    """For each sample and other class, the signs by which its logit gains most on the own: (N, C - 1, n)."""
    maps = affine_map(state.network, x)[0]
    gains = maps - maps[torch.arange(len(x)), labels][:, None]
    others = torch.ones(maps.shape[:2], dtype=torch.bool).scatter_(1, labels[:, None], False)
    return torch.where(gains >= 0, 1.0, -1.0)[others].view(len(x), -1, x.shape[1]).double()


def _classified(state: State, samples: int) -> tuple[Tensor, Tensor]:
    """The first training samples that the network classifies as they are labelled, and the labels."""
    x, labels = state.data.x_train.double(), state.data.y_train
    with torch.no_grad():
        right = (state.network(x).argmax(1) == labels).nonzero()[:samples, 0]
    return x[right], labels[right]


def _exact_distance(state: State, x: Tensor, labels: Tensor) -> Tensor:
    """The least exact distance to another class along all lines of each sample; inf where none ends."""
    generator = torch.Generator().manual_seed(state.seed)
    signs = torch.randint(0, 2, (len(x), 20, x.shape[1]), generator=generator).double() * 2 - 1
    d = torch.cat([signs, steepest_directions(state, x, labels)], 1)
    starts = x[:, None].expand_as(d).reshape(-1, x.shape[1])
    found = exact_interval(state.network, starts, d.reshape(-1, x.shape[1]), resolve="never")
    both = torch.minimum(-found.lo, found.hi)
    return both.view(len(x), -1).amin(1)


def _radii(state: State, x: Tensor, labels: Tensor, factor: float) -> dict[str, Tensor]:
    constants = {
        "product of |W_l|": state.product,
        "row sums of |W_L|...|W_1|": state.row_sums,
        "K |W|, assumed": factor * state.linear,
    }
    return {name: guaranteed_radius(state.network, x, labels, lipschitz=c) for name, c in constants.items()}


def _compared(radii: dict[str, Tensor], distance: Tensor) -> dict[str, Any]:
    return {
        "median_distance": float(distance.median()),
        "radii": {
            name: {
                "median": float(radius.median()),
                "median_of_distance": float((radius / distance).median()),
                "largest_of_distance": float((radius / distance).max()),
                "broken": float((radius > distance * (1 + 1e-9)).double().mean()),
            }
            for name, radius in radii.items()
        },
    }
