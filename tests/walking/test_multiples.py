"""The walk puts multiples of a number that crosses 0 on 0, so that all of them bend at one point."""

from __future__ import annotations

import math

import torch
from torch import nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.backends import Placement
from relu_regions.backends.crossings import Changes, Crossings
from relu_regions.backends.points import Flips, Points
from relu_regions.walking.multiples import Multiples
from tests.exactness.judge.test_multiples import dense_block
from tests.models import Wrapped


def test_what_reads_multiples_bends_at_one_point() -> None:
    """In walks without bounds, on lines and rays, in float32 too: as rational arithmetic has it."""
    for seed, (low, high) in enumerate([(-1.0, 2.0), (-math.inf, math.inf), (-0.5, 40.0)] * 3):
        torch.manual_seed(seed)
        network, (x, d) = dense_block(), torch.randn(2, 4, 4, dtype=torch.float64)
        for dtype in (torch.float64, torch.float32):
            paths = rr.walk(network, x, d, (low, high), resolve="never", dtype=dtype)
            for path, true in zip(paths, rational.walk(network, x, d, (low, high))):
                found = [(row, gate, unit) for row, gate, unit in zip(*map(list, _columns(path)))]
                assert found == [
                    (row, flip.gate, flip.unit) for row, flips in enumerate(true.flips, 1) for flip in flips
                ]


def _columns(path: rr.Path) -> tuple[list[int], list[int], list[int]]:
    flips = path.flips
    order = sorted(zip(flips.row.tolist(), flips.gate.tolist(), flips.unit.tolist()))
    rows, gates, units = zip(*order) if order else ((), (), ())
    return list(rows), list(gates), list(units)


def test_the_default_is_certain_and_needs_no_rational_arithmetic() -> None:
    torch.manual_seed(3)
    paths = rr.walk(dense_block(), *torch.randn(2, 6, 4, dtype=torch.float64))
    assert paths.certain.all() and "rational" not in paths.decided_by


def test_bounds_grow_by_what_is_put_on_zero() -> None:
    torch.manual_seed(0)
    network = dense_block()
    multiples = Multiples.of(network)
    assert multiples is not None
    step = network.gates[1]
    # The second layer's unit 2 reads number 2 of the first value, and crosses 0 in the first interval.
    crossing = [torch.tensor([number]) for number in (0, 2, 0, 1)]
    half = torch.tensor([0.5], dtype=torch.float64)
    crossings = Crossings(*crossing[:2], half, half, half, *crossing[2:])
    placed = Placement(
        torch.tensor([0]), half, half, torch.tensor([1, 0]), crossings, torch.tensor([1]), torch.tensor([True]),
        Changes.none(torch.device("cpu")),
    )  # fmt: skip
    name = network.steps[0].output
    value = torch.full((3, 3), 0.25, dtype=torch.float64)
    none = torch.zeros(1, dtype=torch.int64)
    points = Points(
        torch.tensor([0]), torch.tensor([0, 3]), torch.linspace(0, 1, 3, dtype=torch.float64), None, {name: value}, 0,
        Flips.none(torch.device("cpu")), none, none.bool(), {name: torch.full((3,), 1e-9, dtype=torch.float64)},
    )  # fmt: skip
    multiples.put_on_zero(step, points, placed)
    expected = torch.full((3, 3), 0.25, dtype=torch.float64)
    expected[1, 2] = 0.0
    assert (points.values[name] == expected).all()
    assert (points.errors[name][[0, 2]] == 1e-9).all() and 0.25 + 1e-9 <= points.errors[name][1] < 0.26


def test_where_no_number_is_read_again_there_are_none() -> None:
    def residual(m: Wrapped, x: torch.Tensor) -> torch.Tensor:
        return m.c(x + m.b(torch.relu(m.a(x))))

    modules = {"a": nn.Linear(4, 3), "b": nn.Linear(3, 4), "c": nn.Linear(4, 2)}
    for model in (Wrapped(residual, **modules), nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))):
        assert Multiples.of(rr.Network.from_module(model.double().eval(), (4,))) is None
