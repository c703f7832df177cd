"""How much memory a walk may take."""

from __future__ import annotations

import psutil
import torch

__all__ = ["free_memory"]


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
