"""Segments with other points put in their places, against lists joined one by one."""

from __future__ import annotations

from random import Random

import pytest
import torch

from relu_regions.backends.points import Flips
from relu_regions.walking.splicing import Splice, with_rows


@pytest.mark.parametrize("seed", range(30))
def test_points_and_flips_of_some_segments_are_replaced(seed: int) -> None:
    rng = Random(seed)
    lengths = [rng.randint(2, 6) for _ in range(rng.randint(1, 6))]
    numbers = sorted(rng.sample(range(len(lengths)), rng.randint(1, len(lengths))))
    olds = [[(float(i), float(k)) for k in range(length)] for i, length in enumerate(lengths)]
    news = [[(-float(i), float(k)) for k in range(rng.randint(2, 6))] for i in numbers]
    flipping = [sorted(rng.sample(range(len(old)), rng.randint(0, 2))) for old in olds]
    flipping_anew = [sorted(rng.sample(range(len(new)), rng.randint(0, 2))) for new in news]
    offsets = torch.tensor([0, *lengths]).cumsum(0)

    def flips(rows: list[int], unit: int) -> Flips:
        row = torch.tensor(rows, dtype=torch.int64)
        return Flips(row, torch.zeros_like(row), torch.full_like(row, unit), row, row + 1)

    old_flips = Flips.joined([flips([int(offsets[i]) + k for k in rows], i) for i, rows in enumerate(flipping)])
    splice = Splice.of(offsets, numbers, [len(new) for new in news])
    found = splice.points(torch.tensor([p for old in olds for p in old]), [torch.tensor(new) for new in news])
    moved = splice.flips(old_flips, [flips(rows, 100 + i) for rows, i in zip(flipping_anew, numbers)])

    points, marks, starts = [], [], [0]
    for i, (old, rows) in enumerate(zip(olds, flipping)):
        place = numbers.index(i) if i in numbers else None
        own, at, unit = (old, rows, i) if place is None else (news[place], flipping_anew[place], 100 + i)
        marks += [(len(points) + k, unit) for k in at]
        points += own
        starts.append(len(points))
    assert found.tolist() == [list(point) for point in points]
    assert splice.offsets.tolist() == starts
    assert list(zip(moved.row.tolist(), moved.unit.tolist())) == marks


def test_rows_are_replaced_in_a_copy() -> None:
    old = torch.arange(6.0).view(3, 2)
    assert with_rows(old, [2, 0], torch.tensor([[8, 9], [6, 7]])).tolist() == [[6, 7], [2, 3], [8, 9]]
    assert with_rows(old > 2, [0], True).tolist() == [[True, True], [False, True], [True, True]]
    assert old.tolist() == [[0, 1], [2, 3], [4, 5]]
