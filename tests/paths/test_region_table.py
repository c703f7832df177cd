"""The table of regions against flips replayed one by one."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
import torch

from relu_regions.backends.points import Flips
from relu_regions.paths.region_table import RegionTable


def random_table(seed: int) -> tuple[RegionTable, list[list[list[int]]]]:
    """A table of a few segments, some of one region alone, and the pattern of each region gate by gate."""
    rng = Random(seed)
    units, offsets, flips = (3, 1, 0), [0], []
    first: list[list[list[int]]] = [[] for _ in units]
    patterns: list[list[list[int]]] = []
    for _ in range(rng.randint(0, 5)):
        pattern = [[rng.randint(0, 2) for _ in range(count)] for count in units]
        for gate, pieces in enumerate(pattern):
            first[gate].append(list(pieces))
        patterns.append([list(pieces) for pieces in pattern])
        regions = rng.choice([1, 1, 2, 6])
        for point in range(1, regions):
            chosen = sorted(rng.sample([(0, 0), (0, 1), (0, 2), (1, 0)], rng.randint(1, 3)))
            for gate, unit in chosen:
                after = (pattern[gate][unit] + rng.randint(1, 2)) % 3
                flips.append((offsets[-1] + point, gate, unit, pattern[gate][unit], after))
                pattern[gate][unit] = after
            patterns.append([list(pieces) for pieces in pattern])
        offsets.append(offsets[-1] + regions + 1)
    columns = torch.tensor(flips, dtype=torch.int64).reshape(-1, 5).T.contiguous()
    shaped = (torch.tensor(part, dtype=torch.int64).reshape(len(part), count) for part, count in zip(first, units))
    return RegionTable(torch.tensor(offsets), tuple(shaped), Flips(*columns)), patterns


@pytest.mark.parametrize("seed", range(40))
def test_patterns_of_any_regions(seed: int) -> None:
    table, patterns = random_table(seed)
    assert len(table) == len(patterns) == int(table.counts.sum())
    rng = Random(-seed)
    choices = [rng.sample(range(len(table)), rng.randint(0, len(table))) for _ in range(6)]
    for chosen in (list(range(len(table))), *map(sorted, choices)):
        found = table.patterns(torch.tensor(chosen, dtype=torch.int64))
        assert [len(part) for part in found] == [len(chosen)] * 3
        for row, region in enumerate(chosen):
            assert [part[row].tolist() for part in found] == patterns[region]


@pytest.mark.parametrize("seed", range(40))
def test_regions_lie_on_segments_between_points(seed: int) -> None:
    table, _ = random_table(seed)
    offsets = table.offsets.tolist()
    owners = [(i, row) for i, (low, high) in enumerate(pairwise(offsets)) for row in range(low, high - 1)]
    regions = table.numbers()
    assert list(zip(table.segments(regions).tolist(), table.opening_points(regions).tolist())) == owners
    flips, opened = table.flips_between(0, offsets[-1])
    assert torch.equal(flips.row, table.flips.row)
    assert torch.equal(table.opening_points(opened), flips.row)
