"""Samples and labels that lines and planes are made of, checked, and put together by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Integers

__all__ = ["checked", "checked_samples", "differ", "groups"]


def checked_samples(samples: Array) -> Tensor:
    points = torch.as_tensor(samples).detach()
    if not points.is_floating_point():
        raise TypeError(f"samples must be float, got {points.dtype}: scale them first, as in samples / 255")
    if points.ndim < 2 or points.numel() == 0:
        raise ValueError(f"samples must have shape (number, *input_shape), none of it 0, got {tuple(points.shape)}")
    if not torch.isfinite(points).all():
        raise ValueError("samples must be finite, got NaN or infinity among them")
    return points.to(torch.float64)


def checked(samples: Array, labels: Array) -> tuple[Tensor, Integers]:
    points = checked_samples(samples)
    classified = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if not np.issubdtype(classified.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {classified.dtype}")
    if classified.shape != (len(points),):
        raise ValueError(f"{len(points)} samples need labels of shape ({len(points)},), got {classified.shape}")
    return points, classified.astype(np.int64)


def groups(classified: Integers, classes: Sequence[int] | None) -> list[Integers]:
    """The samples of each class."""
    present = np.unique(classified).tolist()
    chosen = present if classes is None else list(dict.fromkeys(classes))
    if not chosen:
        raise ValueError(f"classes is empty; there are the classes {present}")
    for label in chosen:
        if label not in present:
            raise ValueError(f"no sample is of class {label}; there are the classes {present}")
    return [np.flatnonzero(classified == label) for label in chosen]


def differ(points: Tensor, first: Integers, second: Integers) -> NDArray[np.bool_]:
    """Where two points are not equal, told by the first row equal to each: no pair of samples is compared."""
    seen: dict[bytes, int] = {}
    # Adding 0 makes -0.0 the same bytes as 0.0.
    rows = (points.flatten(1) + 0.0).cpu().numpy()
    same = np.array([seen.setdefault(row.tobytes(), place) for place, row in enumerate(rows)])
    return np.asarray(same[first] != same[second])
