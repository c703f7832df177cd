"""How much memory a walk may take."""

from __future__ import annotations

import time

import psutil
import torch

__all__ = ["free_memory"]


# To ask costs as much as to walk a segment: what was found counts for so many seconds.
_SECONDS = 0.5
_found: dict[torch.device, tuple[float, int]] = {}


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device, or were half a second ago."""
    now = time.monotonic()
    when, bytes_free = _found.get(device, (-_SECONDS, 0))
    if now - when >= _SECONDS:
        cuda = device.type == "cuda"
        bytes_free = int(torch.cuda.mem_get_info(device)[0] if cuda else psutil.virtual_memory().available)
        _found[device] = now, bytes_free
    return bytes_free
