"""Which rows of coefficients are equal, number by number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["classes"]

# Numbers of a row that are compared before all of it.
_FIRST_NUMBERS = 8


def classes(*parts: Tensor) -> Tensor:
    """For each row of numbers which of the different rows it is, ``(n,)`` int64, in no particular order.

    Args:
        parts: of the rows, ``(n, k)`` each. Few rows share their first numbers, and only these are compared as a whole.
    """

    def which(rows: list[Tensor]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        _, found, counts = np.unique(
            torch.cat(rows, 1).add_(0.0).numpy(), axis=0, return_inverse=True, return_counts=True
        )
        return found.reshape(-1).astype(np.int64), counts

    found, counts = which([part[:, :_FIRST_NUMBERS].double() for part in parts])
    shared = torch.from_numpy(counts[found] > 1)
    if bool(shared.any()) and max(part.shape[1] for part in parts) > _FIRST_NUMBERS:
        found[shared.numpy()] = len(counts) + which([part[shared].double() for part in parts])[0]
    return torch.from_numpy(found)
