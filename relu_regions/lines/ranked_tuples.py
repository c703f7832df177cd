"""Families of tuples of samples, listed by rank: all of a family or a random part, without making the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from relu_regions.network.arrays import Integers

__all__ = ["Family", "arrangements", "combinations", "members_of", "products"]


@dataclass(frozen=True)
class Family:
    """Tuples of points that can be counted, and listed by their rank, without being all made."""

    size: int
    unrank: Callable[[Integers], Integers]


def arrangements(group: Integers, length: int) -> Family:
    """All ordered tuples of distinct members of a group, in lexicographic order."""

    def unrank(ranks: Integers) -> Integers:
        columns: list[Integers] = []
        remaining = ranks
        for place in range(length):
            # Each digit of the rank is a position among the members not yet taken.
            position, remaining = np.divmod(remaining, math.perm(len(group) - place - 1, length - place - 1))
            for taken in np.sort(np.array(columns).reshape(place, len(ranks)), axis=0):
                position = position + (position >= taken)
            columns.append(position)
        return group[np.stack(columns, axis=1)]

    return Family(math.perm(len(group), length), unrank)


def combinations(group: Integers, length: int) -> Family:
    """All sets of distinct members of a group, each in the group's order; those of its first members come first."""
    # The sets among the first n members have the ranks below C(n, length): they say which member is the last one.
    counts = [np.array([math.comb(n, k) for n in range(len(group))], dtype=np.int64) for k in range(1, length + 1)]

    def unrank(ranks: Integers) -> Integers:
        columns: list[Integers] = []
        for count in reversed(counts):
            position = np.searchsorted(count, ranks, side="right") - 1
            ranks = ranks - count[position]
            columns.append(position)
        return group[np.stack(columns[::-1], axis=1)]

    return Family(math.comb(len(group), length), unrank)


def products(first: Integers, second: Integers) -> Family:
    """All pairs of a member of one group and a member of another."""

    def unrank(ranks: Integers) -> Integers:
        rows, columns = np.divmod(ranks, len(second))
        return np.stack([first[rows], second[columns]], axis=1)

    return Family(len(first) * len(second), unrank)


def members_of(blocks: Sequence[Family], number: int | None, seed: int, what: str) -> Integers:
    """All tuples of the blocks, or as many as asked for, drawn without replacement."""
    blocks = [block for block in blocks if block.size]
    if not blocks:
        raise ValueError(f"there are no {what}: the classes have too few samples")
    ends = np.cumsum([block.size for block in blocks])
    total = int(ends[-1])
    if number is not None and not 1 <= number <= total:
        raise ValueError(f"asked for number={number} {what}, there are {total}")
    generator = np.random.default_rng(seed)
    ranks = np.arange(total) if number is None else generator.choice(total, number, replace=False)
    of_block = np.searchsorted(ends, ranks, side="right")
    parts = [block.unrank(ranks[of_block == place] - (ends[place] - block.size)) for place, block in enumerate(blocks)]
    members = np.concatenate(parts)
    members[np.argsort(of_block, kind="stable")] = members.copy()
    return members
