"""Which rows of numbers are equal: as a comparison of every pair has it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_regions.exactness.equal_rows import classes


@given(st.integers(0, 12), st.integers(0, 24), st.integers(0, 3), st.integers(0, 2**32))
def test_rows_are_in_one_class_where_all_their_numbers_are_equal(count: int, width: int, more: int, seed: int) -> None:
    """Rows that differ in one late number or in the second part alone too; -0.0 is 0.0."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randint(-1, 2, shape, generator=generator) * 0.0 + torch.randint(0, 2, shape, generator=generator)

    rows, others = drawn(1, width).repeat(count, 1), drawn(count, more)
    if count and width:
        place = torch.randint(count, (2,), generator=generator), torch.randint(width, (2,), generator=generator)
        rows[place] += 1.0
    found = classes(rows, others)
    both = torch.cat([rows, others], 1)
    assert ((found[:, None] == found) == (both[:, None] == both).all(2)).all()
