"""Keys of activation patterns: of patterns at will, and of all regions that a walk crossed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from relu_regions.network.network import Network
from relu_regions.paths.region_table import RegionTable

__all__ = ["pattern_keys", "region_keys"]

Words = NDArray[np.uint64]


def pattern_keys(network: Network, patterns: tuple[Tensor, ...]) -> list[str]:
    """A name for each pattern, the same for equal patterns of a network: 128 bits, as 32 hexadecimal digits.

    It is the sum, modulo 2^64 and twice, of a random number for each unit's piece (Zobrist, A New Hashing Method with
    Application for Game Playing, 1970), so that a flip changes it by a difference. Two different patterns share a key
    by a chance of 2^-128.

    Args:
        network: that the patterns are of.
        patterns: for each gate ``(R, units)`` int64.
    """
    return _digits(_sums(_tables(network), patterns, len(patterns[0]) if patterns else 1))


def region_keys(network: Network, table: RegionTable) -> list[str]:
    """The key of each region of a table, without building the patterns.

    Args:
        network: that the table is of.
        table: which regions segments cross.
    """
    tables = _tables(network)
    flips, region = table.flips_between(0, int(table.offsets[-1]) - 1)
    changes = np.zeros((len(region) + 1, 2), np.uint64)
    gate, unit, before, after = (part.cpu().numpy() for part in (flips.gate, flips.unit, flips.before, flips.after))
    for number, words in enumerate(tables):
        mine = np.flatnonzero(gate == number)
        changes[mine + 1] = words[unit[mine], after[mine]] - words[unit[mine], before[mine]]
    total = changes.cumsum(0, dtype=np.uint64)
    segment = table.segments(table.numbers()).cpu().numpy()
    done = np.searchsorted(region.cpu().numpy(), np.arange(len(table)), side="right")
    opening = done[table.region_offsets[:-1].cpu().numpy()]
    first = _sums(tables, table.first_patterns, len(table.counts))
    return _digits(first[segment] + total[done] - total[opening[segment]])


def _tables(network: Network) -> list[Words]:
    """Random numbers for each unit and piece of each gate, ``(units, pieces, 2)``; always the same ones."""
    shapes = [(step.units, step.gate.piece_count, 2) for step in network.gates]
    return [
        np.random.Philox(key=gate).random_raw(int(np.prod(shape))).reshape(shape) for gate, shape in enumerate(shapes)
    ]


def _sums(tables: list[Words], patterns: tuple[Tensor, ...], count: int) -> Words:
    sums = np.zeros((count, 2), np.uint64)
    for table, pieces in zip(tables, patterns):
        for row, chosen in enumerate(pieces.cpu().numpy()):
            sums[row] += table[np.arange(len(chosen)), chosen].sum(0, dtype=np.uint64)
    return sums


def _digits(words: Words) -> list[str]:
    return [f"{high:016x}{low:016x}" for high, low in words.tolist()]
