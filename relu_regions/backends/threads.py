"""torch on one thread where its work is too small to be worth sharing out, and threads for what can be shared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch

__all__ = ["each_on_one_thread", "one_thread", "parts_of"]

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch's own products, until the end of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def each_on_one_thread(function: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """The function's results for all items, several at once, with one thread for torch in each.

    A single item stays here, with torch as it is.
    """

    def alone(item: T) -> R:
        torch.set_num_threads(1)
        return function(item)

    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    before = torch.get_num_threads()
    try:
        return list(_workers(threads).map(alone, items))
    finally:
        # What the workers have set is what threads that start later would take.
        torch.set_num_threads(before)


def parts_of(count: int, least: int) -> list[tuple[int, int]]:
    """So many rows in parts of like size, first and last row of each: one per torch thread, ``least`` rows at least."""
    parts = max(1, min(torch.get_num_threads(), count // least))
    return list(pairwise(count * number // parts for number in range(parts + 1)))


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    # Threads that stay keep the memory that they work in; new ones would ask the system for it each time.
    return ThreadPoolExecutor(threads, "relu_regions")


# Threads don't outlive a fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)
