"""The inner loops of the walk, one file per backend; the rest of the library does not know which one runs."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch

from relu_regions.kernels import reference
from relu_regions.kernels.bends import edge_pieces
from relu_regions.kernels.placement import Placement

__all__ = ["Placement", "edge_pieces", "kernel_for"]


@cache
def kernel_for(device: torch.device) -> ModuleType:
    """The fastest installed backend for a device; it is loaded when first asked for."""
    if device.type == "cpu" and find_spec("numba") is not None:
        from relu_regions.kernels import compiled

        return compiled
    return reference
