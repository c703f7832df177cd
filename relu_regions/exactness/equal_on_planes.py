"""Numbers that are equal on all of a plane by construction, as equal patches of three images under one kernel are."""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.exactness.equal_inputs import bits, firsts
from relu_regions.exactness.equal_on_lines import EqualThrough, equal_everywhere, pads_patches
from relu_regions.network.equal_grids import full
from relu_regions.network.network import Network

__all__ = ["equal_on_planes"]


def equal_on_planes(network: Network, x: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
    """What is equal on all of some planes x + s u + t v, of the values that gates read, by name.

    Args:
        network: as it was read, as `relu_regions.exactness.equal_on_lines` asks for lines.
        x, u, v: ``(N, *input_shape)``.

    Returns:
        For each number the first that it is equal to, -1 where it is 0: a row for each plane, or one for all, int64.
        Values all of whose numbers differ on all of these planes are left out.
    """
    x, u, v = (part.detach().cpu().double().flatten(1) for part in (x, u, v))
    inputs, numbers = firsts(bits(x)), x.shape[1]
    for part in (u, v):
        inputs = firsts(inputs * numbers + firsts(bits(part)))
    inputs = inputs.masked_fill((x == 0) & (u == 0) & (v == 0), -1)
    # Of numbers that all differ only what is equal everywhere is equal, but for patches of nothing but padding.
    if bool((inputs == torch.arange(numbers)).all()) and not pads_patches(network):
        return equal_everywhere(network)
    made = EqualThrough(network, torch.zeros(len(x), dtype=torch.bool)).through(inputs)
    return {name: full(first) for name, first in made.items()}
