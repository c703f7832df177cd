"""How much memory a walk may take, and memory for its results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import inf, prod
from numbers import Real

import numpy as np
import psutil
import torch
from torch import Tensor

__all__ = ["Growing", "budget", "free_memory", "room", "stack_bytes"]


# To ask a processor costs as much as to walk a segment: what was found counts for so many seconds.
_SECONDS = 0.5
_found = (-_SECONDS, 0)
# From so many bytes on numpy asks for large pages.
_LARGE = 4 << 20


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; on a processor, that were free half a second ago at most."""
    global _found
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    now = time.monotonic()
    if now - _found[0] >= _SECONDS:
        _found = now, int(psutil.virtual_memory().available)
    return _found[1]


def budget(given: int | None, device: torch.device) -> int:
    """Bytes that work may take on a device: what was given, or a quarter of what is free.

    Raises:
        TypeError: what was given is no number.
        ValueError: it is not positive, or not finite.
    """
    if given is None:
        return free_memory(device) // 4
    if isinstance(given, bool) or not isinstance(given, Real):
        raise TypeError(f"memory_budget must be a number of bytes, such as 2**30 for a GiB, not {given!r}.")
    if not 0 < given < inf:
        raise ValueError(f"memory_budget must be a positive, finite number of bytes, not {given!r}.")
    return max(1, int(given))


def stack_bytes(allowed: int, fastest: Mapping[str, int], device: torch.device) -> int:
    """Peak bytes of a stack that goes through a network together.

    Args:
        allowed: bytes.
        fastest: by the device's type, the bytes beyond which larger stacks are no faster.
    """
    return min(allowed, fastest.get(device.type, allowed))


def room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for a result, not filled yet.

    For much memory on a processor numpy asks the system for large pages; small ones can cost more to get than what
    fills them costs to compute.
    """
    if device.type != "cpu" or prod(shape) * dtype.itemsize < _LARGE:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, torch.empty(0, dtype=dtype, device="cpu").numpy().dtype))


class Growing:
    """Numbers that come part by part and are put in their places as they come; a single part is not copied."""

    def __init__(self) -> None:
        self._held: Tensor | None = None
        self._count = 0

    def add(self, part: Tensor, done: float) -> None:
        """Put a part, ``(K, *shape)``, behind the others.

        Args:
            done: the share of all parts that there are with this one, as far as is known: for so many is room made, but
                for no more than four times what there is.
        """
        stop = self._count + len(part)
        if self._held is None:
            self._held = part
        else:
            if stop > len(self._held):
                likely = stop + stop // 2 if done >= 1 else int(1.05 * stop / done)
                self._grow(max(stop, min(likely, 4 * stop)))
            self._held[self._count : stop] = part
        self._count = stop

    def _grow(self, rows: int) -> None:
        assert self._held is not None
        held = room((rows, *self._held.shape[1:]), self._held.dtype, self._held.device)
        held[: self._count] = self._held[: self._count]
        self._held = held

    def whole(self, nothing: Tensor) -> Tensor:
        """All numbers, or what stands for none; nothing of them is held here any more."""
        held, self._held = self._held, None
        if held is None:
            return nothing
        whole = held[: self._count]
        # Room that was not needed is not kept for as long as the result.
        return whole if 8 * len(held) <= 9 * len(whole) else whole.clone()
