"""Crossings of an interval: put in order, whichever way is taken."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
crossings = import_module("relu_regions.backends.cpu.crossing_loops")

PLACES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.2500000001, 1.0]), st.floats(0.5, 0.5001))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=200, deadline=None)
@given(places=st.lists(PLACES, max_size=90), start=st.integers(0, 3), knots=st.integers(1, 3))
def test_they_come_in_order_of_t_knots_and_units(
    dtype: type[np.floating], places: list[float], start: int, knots: int
) -> None:
    rng, stop = np.random.default_rng(len(places)), start + len(places)
    integers = rng.integers(-9, 9, (4, start + 2 * len(places)))
    reals = rng.random((4, start + 2 * len(places))).astype(dtype)
    right = np.array(places, dtype)
    reals[0, start:stop], reals[1, start:stop], reals[2, start:stop] = 3 * right - 1, 1 - right, right
    integers[1, start:stop], integers[2, start:stop] = rng.permutation(len(places)), rng.integers(0, knots, len(places))
    before = [tuple(column) for column in np.vstack([integers[1:3], reals])[:, start:stop].T]
    ahead = integers[:, :start].copy(), reals[:, :start].copy()
    crossings.in_order(start, stop, integers, reals)
    after = [tuple(column) for column in np.vstack([integers[1:3], reals])[:, start:stop].T]
    assert after == sorted(before, key=lambda crossing: (crossing[2], crossing[1], crossing[0]))
    assert (integers[:, :start] == ahead[0]).all() and (reals[:, :start] == ahead[1]).all()


def test_many_crossings_are_shared_out_unless_they_crowd() -> None:
    count = 50
    integers, reals = np.zeros((4, 2 * count), np.int64), np.zeros((4, 2 * count))
    reals[2, :count] = np.linspace(1, 0, count)
    assert crossings.share_out(0, count, integers, reals)
    assert (np.diff(reals[2, :count]) > 0).all()
    reals[2, :count] = 0.3
    assert not crossings.share_out(0, count, integers, reals)
    reals[2, 0] = np.nan  # of numbers that overflowed; it is out of range for no array
    assert not crossings.share_out(0, count, integers, reals)
