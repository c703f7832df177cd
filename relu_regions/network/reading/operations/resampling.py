"""Resampling of images by coefficients of either sign: bicubic, antialiased, and at the places of a constant grid."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from relu_regions.network.reading.operations.registry import Call, only_first_is_value, register
from relu_regions.network.steps import Step

__all__: list[str] = []

# Numbers that one block of probes takes and makes.
_PROBE_NUMBERS = 1 << 22


@register(
    "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "grid_sampler", "grid_sampler_2d",
    "grid_sampler_3d",
    row_by_row=True,
)  # fmt: skip
def _resample(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    space, places_out = value.shape[1:], call.shape[1:]
    factors, places = _by_output(_probed(call, space, prod(places_out)))

    def resampled(points: Tensor, factors: Tensor) -> Tensor:
        flat, found = points.flatten(2), torch.zeros((), dtype=points.dtype, device=points.device)
        for place, factor in zip(places.to(points.device), factors):
            found = found + flat[..., place] * factor
        return found.view(*points.shape[:2], *places_out)

    most = max(*space, *places_out)
    return [call.affine([value], resampled, constants=(factors,), terms=len(factors), places=most)]


def _probed(call: Call, space: tuple[int, ...], size_out: int) -> Tensor:
    """What each place of an image adds to each place of the result, ``(places out, places in)`` sparse.

    Every channel is resampled alike, so the probes are the channels of one image.
    """
    size, rows = prod(space), []
    count = max(1, _PROBE_NUMBERS // max(1, size, size_out))
    for start in range(0, size, count):
        stop = min(size, start + count)
        probes = torch.zeros(stop - start, size, dtype=torch.float64)
        probes[torch.arange(stop - start), torch.arange(start, stop)] = 1
        made = call.target(probes.view(1, -1, *space), *call.args[1:], **call.kwargs)
        rows.append(made.view(stop - start, size_out).to_sparse())
    return torch.cat(rows).transpose(0, 1).coalesce()


def _by_output(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of each row side by side, ``(most in a row, rows)`` float64, padded by zeros, and their columns."""
    (rows, columns), entries = matrix.indices(), matrix.values()
    counts = torch.bincount(rows, minlength=matrix.shape[0])
    number = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    factors = torch.zeros(max(1, int(counts.max())), matrix.shape[0], dtype=torch.float64)
    places = torch.zeros(factors.shape, dtype=torch.int64)
    factors[number, rows], places[number, rows] = entries, columns
    return factors, places
