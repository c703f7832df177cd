"""Operator norms of the network's maps on faces, some faces at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from relu_regions.lines.progress import Progress
from relu_regions.network.network import Network
from relu_regions.regions.affine_maps import blocks, dtype_of
from relu_regions.regions.norms import Norm, check_norm, norms_of

__all__ = ["norms_of_faces"]

# Patterns are unpacked for so many faces at a time.
_FACES = 8192


def norms_of_faces(
    network: Network,
    patterns: Callable[[Tensor], tuple[Tensor, ...]],
    faces: Tensor,
    p: Norm,
    memory_budget: int | None,
    progress: bool | None,
) -> Tensor:
    """The norm ‖W_x‖ on each face, ``(R,)``.

    Args:
        network: in the dtype of the results.
        patterns: gives those of some faces, for each gate ``(R, units)``.
        faces: their numbers, ``(R,)``.
        p, memory_budget, progress: as ``Planes.norms``.
    """
    check_norm(p)
    parts = [torch.zeros(0, dtype=dtype_of(network), device=faces.device)]
    with Progress(len(faces), "norms", progress, "face") as bar:
        for block in blocks(len(faces), _FACES):
            bar.reach(block.start)
            own = faces[block]
            parts.append(norms_of(network, patterns(own), p, len(own), memory_budget=memory_budget))
    return torch.cat(parts)
