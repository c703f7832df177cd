"""How much memory a walk may take."""

from __future__ import annotations

import time

import psutil
import torch

__all__ = ["free_memory"]


# To ask a processor costs as much as to walk a segment: what was found counts for so many seconds.
_SECONDS = 0.5
_found = (-_SECONDS, 0)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; on a processor, that were free half a second ago at most."""
    global _found
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    now = time.monotonic()
    if now - _found[0] >= _SECONDS:
        _found = now, int(psutil.virtual_memory().available)
    return _found[1]
