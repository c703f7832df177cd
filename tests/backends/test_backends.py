"""Every backend gives what the reference gives, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

import relu_regions as rr
from relu_regions.backends import Name, kernel_for, reference, use
from relu_regions.backends.crossings import Changes, Crossings, envelope_crossings, winners
from relu_regions.backends.placement import Placement
from relu_regions.backends.ties import Ties, TieTables
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.network.gates import Gate, Knots, Maximum
from relu_regions.network.steps import AffineStep, Matrix, Origin
from relu_regions.walking.segments import Segments
from relu_regions.walking.sweep import Sweep
from tests.backends.backends import BACKENDS, Backend

pytest.importorskip("numba")
compiled = import_module("relu_regions.backends.cpu.compiled")
threaded_loops = import_module("relu_regions.backends.cpu.threaded_loops")
GATES: dict[str, Gate] = {
    "relu": Knots.of([0], [0, 1], [0, 0]),
    "leaky relu": Knots.of([0], [0.25, 1], [0, 0]),
    "hardtanh": Knots.of([-0.5, 0.75], [0, 1, 0], [-0.5, 0, 0.75]),
    "a slope for each unit": Knots(
        torch.zeros(1, 7, dtype=torch.float64),
        torch.stack([torch.linspace(-1, 1, 7, dtype=torch.float64), torch.ones(7, dtype=torch.float64)]),
        torch.zeros(2, 7, dtype=torch.float64),
    ),
    "maximum": Maximum(torch.tensor([[0, 1, 2], [2, 3, 4], [4, 5, 6]])),
}


def stack(
    seed: int, kind: str, dtype: torch.dtype, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Random points of five segments: inputs, position, weight, starts_interval."""
    generator = torch.Generator().manual_seed(seed)
    counts = [2, 5, 3, 9, 2]
    inputs = torch.randn(sum(counts), 7, generator=generator, dtype=torch.float64)
    if kind == "coincident":  # small integers: many exact zeros and many crossings at the same t
        inputs = inputs.mul(1.5).round()
    position = torch.cat([torch.rand(n, generator=generator, dtype=torch.float64).sort().values for n in counts])
    starts = torch.ones(sum(counts), dtype=torch.bool)
    starts[torch.tensor(counts).cumsum(0) - 1] = False
    weight = None
    if kind == "rays":
        weight = starts.double()
        position[~starts] = 1.0
    inputs, position = inputs.to(device, dtype), position.to(device, dtype)
    return inputs, position, None if weight is None else weight.to(device, dtype), starts.to(device)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["generic", "coincident", "rays"])
@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_bit_for_bit(backend: Backend, name: str, kind: str, dtype: torch.dtype) -> None:
    _, module, device, seeds = backend
    gate = GATES[name].to(dtype, torch.device(device))
    for seed in range(seeds):
        inputs, position, weight, starts = stack(seed, kind, dtype, device)
        ours = module.place(gate, inputs, position, weight, starts, True)
        truth = reference.place(gate, inputs, position, weight, starts, True)
        for part in ("row", "left", "right", "added", "crossing_row", "inside"):
            assert torch.equal(getattr(ours, part), getattr(truth, part)), part
        for part in ("crossings", "changes"):
            one, other = getattr(ours, part), getattr(truth, part)
            assert all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(other)), part
        assert torch.equal(module.insert(inputs, ours), reference.insert(inputs, truth))
        inserted = None if weight is None else reference.insert(weight, truth)
        assert torch.equal(module.bend(gate, inputs, inserted, ours), reference.bend(gate, inputs, inserted, truth))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("kind", ["generic", "coincident", "rays"])
@pytest.mark.parametrize("name", GATES)
def test_threads_share_points_out_and_change_nothing(monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    monkeypatch.setattr("relu_regions.backends.cpu.threaded_loops._NUMBERS", 1)
    monkeypatch.setattr(compiled, "_WORTH_SHARING", 1)
    gate, doubts = GATES[name], 0
    for threads, seed in itertools.product((2, 5, 9), range(12)):
        torch.set_num_threads(threads)
        inputs, position, weight, starts = stack(seed, kind, torch.float64)
        ours, truth = (k.place(gate, inputs, position, weight, starts, True) for k in (compiled, reference))
        for part in ("row", "left", "right", "added", "crossing_row", "inside"):
            assert torch.equal(getattr(ours, part), getattr(truth, part)), part
        for part in ("crossings", "changes"):
            one, other = getattr(ours, part), getattr(truth, part)
            assert all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(other)), part
        assert ours.extremes is not None and torch.equal(ours.extremes[0], inputs.abs().amax(1))
        assert torch.equal(compiled.insert(inputs, ours), reference.insert(inputs, truth))
        inserted = None if weight is None else reference.insert(weight, truth)
        assert torch.equal(compiled.bend(gate, inputs, inserted, ours), reference.bend(gate, inputs, inserted, truth))
        generator = torch.Generator().manual_seed(seed)
        bound, before, after = 0.1 * torch.rand(3, len(inputs), generator=generator, dtype=torch.float64)
        near = compiled.rows_in_doubt(inputs, bound, before, after)
        assert torch.equal(near, reference.rows_in_doubt(inputs, bound, before, after))
        if isinstance(gate, Maximum):
            alike, zeros = torch.arange(7), torch.rand(7, generator=generator) < 0.8
            ties = Ties.everywhere(alike, gate, len(inputs))
            parts = (gate, inputs.clamp_min(0), ties, zeros, bound, before, after, starts)
            near = compiled.leads_in_doubt(*parts)
            assert torch.equal(near, reference.leads_in_doubt(*parts))
        doubts += len(near)
    assert 0 < doubts < 36 * len(inputs)


@pytest.mark.usefixtures("two_threads")
def test_threads_do_not_meet_in_the_rows_between_their_parts() -> None:
    """Few rows of many windows, which all threads look at for the whole time."""
    units = 400_000
    inputs = torch.randn(3, 4 * units, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gate, position = Maximum(torch.arange(4 * units).view(units, 4)), torch.tensor([-1.0, 0.0, 2.0]).double()
    starts = torch.tensor([True, True, False])
    largest = inputs.view(3, units, 4)
    # On two intervals between random points half of all windows have another winner at their other end, and more.
    leaders = largest.argmax(2)
    overtaken = int((leaders[1:] != leaders[:-1]).sum())
    for _ in range(4):
        ours = compiled.place(gate, inputs, position, None, starts, True)
        assert ours.outputs is not None and torch.equal(ours.outputs, largest.amax(2))
        assert len(torch.unique(ours.crossings.row * units + ours.crossings.unit)) == overtaken
        assert not len(ours.changes.row)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("name", ["relu", "hardtanh"])
def test_crowds_of_crossings_are_in_the_same_order(name: str, rounded: bool) -> None:
    inputs = torch.randn(3, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs = (3 * inputs).round() if rounded else inputs
    position, starts = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64), torch.tensor([True, True, False])
    ours, truth = (k.place(GATES[name], inputs, position, None, starts, False) for k in (compiled, reference))
    assert len(truth.crossings.row) > 300
    for part in ("row", "left", "right", "added", "crossing_row", "inside"):
        assert torch.equal(getattr(ours, part), getattr(truth, part)), part
    for field in fields(truth.crossings):
        assert torch.equal(getattr(ours.crossings, field.name), getattr(truth.crossings, field.name)), field.name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["generic", "coincident", "rays"])
@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_matrix_after_a_gate_up_to_rounding(backend: Backend, name: str, kind: str, dtype: torch.dtype) -> None:
    _, module, device, seeds = backend
    gate = GATES[name].to(dtype, torch.device(device))
    units = len(gate.windows) if isinstance(gate, Maximum) else 7
    for seed in range(seeds):
        inputs, position, weight, starts = stack(seed, kind, dtype, device)
        matrix, bias = torch.randn(4, units, dtype=dtype, device=device), torch.randn(4, dtype=dtype, device=device)
        step = AffineStep(
            "", ("",), (4,), Origin("", ""), linear, (matrix,), bias, units, linear, form=Matrix((units,))
        )
        placed = reference.place(gate, inputs, position, weight, starts, True)
        inserted = None if weight is None else reference.insert(weight, placed)
        ours = module.bend_and_multiply(gate, inputs, inserted, placed, step)
        truth = reference.bend_and_multiply(gate, inputs, inserted, placed, step)
        assert (ours - truth).abs().max() <= 100 * torch.finfo(dtype).eps * truth.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_bounds_are_the_same(backend: Backend, dtype: torch.dtype) -> None:
    _, module, device, seeds = backend
    for seed in range(seeds):
        inputs = stack(seed, "coincident", dtype, device)[0]
        generator = torch.Generator().manual_seed(seed)
        bound, before, after = 0.05 * torch.rand(3, len(inputs), generator=generator).to(device, dtype)
        bound[::2] = 0
        ours = module.rows_in_doubt(inputs, bound, before, after)
        assert torch.equal(ours, reference.rows_in_doubt(inputs, bound, before, after))
        zeros = (torch.rand(inputs.shape[1], generator=generator) < 0.5).to(device)
        ours = module.rows_in_doubt(inputs, bound, before, after, zeros)
        assert torch.equal(ours, reference.rows_in_doubt(inputs, bound, before, after, zeros))
        asked = (torch.rand(len(inputs), generator=generator) < 0.5).to(device)
        for known in (None, zeros):
            parts = (inputs, bound, before, after, known, asked)
            assert torch.equal(module.rows_in_doubt(*parts), reference.rows_in_doubt(*parts))
        small = inputs * 10.0 ** torch.randint(-30, 0, inputs.shape, generator=generator).to(inputs)
        assert torch.equal(module.fading(small, zeros, 1e-28), reference.fading(small, zeros, 1e-28))
        wide = torch.randn(3, 200, generator=generator).to(inputs)
        assert torch.equal(module.largest(wide), reference.largest(wide))
        assert torch.equal(module.largest(inputs), reference.largest(inputs))
        assert torch.equal(module.largest(inputs[:, :0]), reference.largest(inputs[:, :0]))


@pytest.mark.parametrize("kind", ["generic", "coincident"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_doubts_about_leads_are_the_same(backend: Backend, kind: str) -> None:
    _, module, device, _ = backend
    gate = Maximum(torch.tensor([[0, 1, 2, 3], [3, 4, 3, 5], [6, 2, 1, 1]], device=device))
    found = 0
    for seed in range(30):
        inputs, _, _, starts = stack(seed, kind, torch.float64, device)
        if kind == "coincident":
            inputs = inputs.clamp_min(0)
        generator = torch.Generator().manual_seed(seed)
        bound, before, after = 0.05 * torch.rand(3, len(inputs), generator=generator).to(device, torch.float64)
        zeros = (torch.rand(7, generator=generator) < 0.8).to(device)
        alike = torch.tensor([1, 2, 3, 4, 5, 5, 1], device=device)
        ties = Ties.everywhere(alike, gate, len(inputs))
        parts = (gate, inputs, ties, zeros, bound, before, after, starts)
        ours = module.leads_in_doubt(*parts)
        assert torch.equal(ours, reference.leads_in_doubt(*parts))
        found += len(ours)
    assert 0 < found < 30 * len(inputs)


@pytest.mark.parametrize("kind", ["generic", "coincident"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_exits_are_the_same(backend: Backend, kind: str) -> None:
    _, module, device, _ = backend
    for seed in range(30):
        logits, _, _, starts = stack(seed, kind, torch.float64, device)
        ends = (~starts).nonzero()[:, 0] + 1
        offsets = torch.cat([ends.new_zeros(1), ends])
        label = logits[offsets[:-1]].argmax(1)
        error = 0.1 * torch.rand(len(logits), generator=torch.Generator().manual_seed(seed)).to(device, torch.float64)
        ours, truth = (kernel.exits(logits, offsets, label, error) for kernel in (module, reference))
        assert all(torch.equal(one, other) for one, other in zip(ours, truth))


@pytest.mark.parametrize(
    "backend", [pytest.param(Backend("reference", reference, "cpu", 0), id="reference"), *BACKENDS]
)
def test_numbers_that_overflowed_are_in_doubt(backend: Backend) -> None:
    """A NaN is neither near nor far, and must not pass for far."""
    _, module, device, _ = backend
    numbers = torch.full((4, 5), 3.0, dtype=torch.float64, device=device)
    numbers[2, 1] = torch.nan
    small = torch.full((4,), 0.1, dtype=torch.float64, device=device)
    assert 2 in module.rows_in_doubt(numbers, small, small, small).tolist()
    assert module.rows_in_doubt(numbers[:2], small[:2], small[:2], small[:2]).tolist() == []
    offsets, label = torch.tensor([0, 2, 4], device=device), torch.zeros(2, dtype=torch.int64, device=device)
    numbers[:, 0] = 9.0
    assert module.exits(numbers, offsets, label, small)[1].tolist() == [False, True]


def smallest_leads(row: torch.Tensor, gate: Maximum) -> list[float]:
    """By how much the largest input of a window leads the others at least: without windows of zeros, and with them."""
    leads: list[list[float]] = [[torch.inf], [torch.inf]]
    for first, *others in gate.windows.tolist():
        places = [first, *(place for place in others if place != first)]
        own = row[places].sort(descending=True).values
        lead = float(own[0] - own[1]) if len(own) > 1 else torch.inf
        leads[1].append(lead)
        if own.any():
            leads[0].append(lead)
    return [min(each) for each in leads]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["generic", "few values", "rectified"])
def test_many_windows_with_ties(kind: str, dtype: torch.dtype) -> None:
    """Winners, changes and doubts of 21 overlapping windows, some with repeated inputs, on smooth curves with ties."""
    found = 0
    for seed in range(25):
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(21, 30, generator=generator, dtype=torch.float64).cumsum(0)
        if kind != "generic":
            inputs = (inputs / 2).round().clamp_min(0 if kind == "rectified" else -2).clamp_max(2)
        windows = torch.randint(30, (21, 4), generator=generator)
        windows[::3, 3] = windows[::3, 0]
        gate, starts = Maximum(windows), torch.ones(21, dtype=torch.bool)
        starts[torch.tensor([3, 4, 11, 20])] = False
        inputs, position = inputs.to(dtype), torch.arange(21, dtype=dtype)
        ours, truth = (k.place(gate, inputs, position, None, starts, True, True) for k in (compiled, reference))
        for part in ("crossings", "changes"):
            one, other = getattr(ours, part), getattr(truth, part)
            assert all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(other)), part
        assert ours.leads is not None and ours.leads.T.tolist() == [smallest_leads(row, gate) for row in inputs]
        bound, before, after = (torch.tensor([[0.02], [0.3], [0.3]]) * torch.rand(3, 21, generator=generator)).to(dtype)
        bound[::2] = 0
        alike = torch.randint(25, (30,), generator=generator)
        inputs = inputs[:, (alike[:, None] == alike).long().argmax(1)]  # what is alike is equal
        zeros = torch.rand(30, generator=generator) < 0.9
        for some in [windows, *windows.split(1)]:
            ties = Ties.everywhere(alike, Maximum(some), len(inputs))
            parts = (Maximum(some), inputs, ties, zeros, bound, before, after, starts)
            doubts = compiled.leads_in_doubt(*parts)
            assert torch.equal(doubts, reference.leads_in_doubt(*parts))
            found += len(doubts)
    assert 100 < found < 25 * 21 * 22 - 1000


def test_rows_without_a_rival_are_certain_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubts about maxima are the same where every row is looked at; far larger bounds leave some."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 2, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Flatten(),
        nn.Linear(18, 8),
        nn.ReLU(),
        nn.Linear(8, 2),
    ]
    network = rr.Network.from_module(nn.Sequential(*layers).double().eval(), (1, 7, 7))
    x, d = torch.randn(2, 60, 1, 7, 7, dtype=torch.float64)
    x[::3, :, :4] = d[::3, :, :4] = 0
    place, asked, found = compiled.place, list[bool](), list[Tensor]()
    for looked_at in (False, True):

        def placed(*parts: Any, all_rows: bool = looked_at) -> Placement:
            made = place(*parts)
            asked.append(made.leads is not None)
            return replace(made, leads=None) if all_rows else made

        monkeypatch.setattr(compiled, "place", placed)
        certainty = Certainty(network, x.dtype)
        certainty.unit *= 2.0**33
        ranges = torch.tensor([[-1.0, 1.0]]).double().expand(60, 2)
        uncertain = torch.zeros(60, dtype=torch.bool)
        with use("compiled"):
            for points in Sweep(network, Segments(x, d, ranges), certainty=certainty):
                uncertain[points.segments] |= points.uncertain
        found.append(uncertain)
    assert any(asked) and torch.equal(*found) and 5 < int(found[0].sum()) < 55


def test_a_unit_bends_in_turn_whatever_rounding_makes_of_it() -> None:
    """A maximum's second bend comes out a float before its first; rounding left the weights of both as good."""
    left = torch.tensor([0.3, 0.3 - 2**-54, 0.25], dtype=torch.float64)
    right = torch.tensor([0.7, 0.7, 0.75], dtype=torch.float64)
    unit, pieces = torch.tensor([4, 4, 7]), torch.tensor([1, 0, 2])
    crossings = Crossings(unit * 0, unit, left, right, left, pieces, pieces[[1, 2, 0]])
    position = torch.tensor([0.5, 0.75], dtype=torch.float64)
    assert left[1] * 0.5 + right[1] * 0.75 < left[0] * 0.5 + right[0] * 0.75
    undone, kept = (
        reference.placed(crossings, Changes.none(unit.device), position, None, turn) for turn in (False, True)
    )
    assert undone.crossings.before.tolist() == [0, 1, 2] and undone.crossing_row.tolist() == [1, 2, 3]
    assert kept.crossings.before.tolist() == [1, 0, 2] and kept.crossing_row.tolist() == [1, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["generic", "whole", "huge", "not finite"])
def test_the_upper_envelope_is_followed_as_the_reference_does(kind: str, dtype: torch.dtype) -> None:
    """Down to what comes of numbers that overflow, or have."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(12, 9, generator=generator, dtype=torch.float64)
        if kind == "whole":
            values = values.mul(1.5).round()
        values = (values * torch.finfo(dtype).max if kind == "huge" else values).to(dtype)
        if kind == "not finite":
            values[3, 2], values[4, 2], values[5, 1] = torch.inf, -torch.inf, torch.nan
        gate = Maximum(torch.randint(0, 9, (6, 5), generator=generator))
        first, last = winners(gate, values)
        row, unit = (first != last).nonzero(as_tuple=True)
        between = torch.stack([row, unit, first[row, unit], last[row, unit]])
        truth = envelope_crossings(gate, values, *between)
        integers, reals = threaded_loops.followed(values.numpy(), gate.windows.numpy(), between.numpy())
        whole = (truth.row, truth.unit, truth.before, truth.after)
        assert len(truth.row) > 5 and torch.equal(torch.from_numpy(integers), torch.stack(whole))
        numbers = torch.stack([truth.left, truth.right, truth.rise])
        assert torch.equal(torch.from_numpy(reals).nan_to_num(nan=7.0), numbers.nan_to_num(nan=7.0))


def test_crossings_of_a_segment_increase_and_lie_inside() -> None:
    for seed in range(20):
        inputs, position, weight, starts = stack(seed, "generic", torch.float64)
        placement = reference.place(GATES["relu"], inputs, position, weight, starts, True)
        t = reference.insert(position, placement)
        segment_ends = (~starts).nonzero()[:, 0]
        for first, last in zip([0, *(segment_ends[:-1] + 1).tolist()], segment_ends.tolist()):
            own = t[placement.old_rows[first] : placement.old_rows[last] + 1]
            assert (own.diff() > 0).all()


@pytest.fixture
def free_choice() -> Iterator[None]:
    """The fastest backend, whichever the tests were told to run on."""
    with use(None):
        yield


@pytest.mark.usefixtures("free_choice")
def test_the_compiled_backend_is_used_on_a_cpu() -> None:
    assert kernel_for(torch.device("cpu")) is compiled


@pytest.mark.usefixtures("free_choice")
def test_a_backend_is_chosen_by_a_call_and_for_a_block() -> None:
    cpu = torch.device("cpu")
    use("reference")
    assert kernel_for(cpu) is reference
    with use("compiled"):
        assert kernel_for(cpu) is compiled
        with suppress(ZeroDivisionError), use("reference"):
            assert kernel_for(cpu) is reference
            1 / 0  # noqa: B018
        assert kernel_for(cpu) is compiled
    assert kernel_for(cpu) is reference
    use(None)
    assert kernel_for(cpu) is compiled


@pytest.mark.usefixtures("free_choice")
def test_a_choice_holds_in_every_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(kernel_for, torch.device("cpu")).result() is compiled
        with use("reference"):
            assert pool.submit(kernel_for, torch.device("cpu")).result() is reference


@pytest.mark.usefixtures("free_choice")
def test_what_walks_asks_the_chosen_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    place = reference.place
    monkeypatch.setattr(reference, "place", lambda *given: asked.append(1) or place(*given))
    x, d = torch.randn(2, 1, 3)
    with use("reference"):
        rr.walk(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()).eval(), x, d)
    assert asked


@pytest.mark.usefixtures("free_choice")
def test_backends_that_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numba", "", ["cuda"]):
        with pytest.raises(ValueError, match="use one of 'reference', 'compiled', 'cuda', or None for the fastest"):
            use(name)  # type: ignore[arg-type]
    monkeypatch.setattr("relu_regions.backends.find_spec", lambda package: None)
    with pytest.raises(ImportError, match="'cuda' needs triton, which is not installed"):
        use("cuda")
    assert kernel_for(torch.device("cpu")) is compiled


@pytest.mark.usefixtures("free_choice")
@pytest.mark.parametrize(("name", "device"), [("compiled", "cuda:0"), ("cuda", "cpu")])
def test_a_backend_refuses_devices_on_which_it_does_not_run(
    monkeypatch: pytest.MonkeyPatch, name: Name, device: str
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("relu_regions.backends.find_spec", lambda package: True)
    with use(name), pytest.raises(ValueError, match=f"'{name}' runs on .* but the input lies on {device}"):
        kernel_for(torch.device(device))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_ties_row_by_row_is_made_equal_and_leaves_the_same_doubts(backend: Backend) -> None:
    """Two tables: what is equal on a line, and what is so at some of its points besides."""
    _, module, device, _ = backend
    gate, found = Maximum(torch.tensor([[0, 1, 2, 3], [3, 4, 3, 5], [6, 2, 1, 1]], device=device)), 0
    first = torch.tensor([[0, 1, 1, 3, 4, 5, -1], [0, 0, 0, 3, 3, 3, -1]], device=device)
    tables = TieTables.of(first, torch.arange(1, 8, device=device), gate)
    assert tables.whole.tolist() == [[False, False, False], [False, True, False]]
    for seed in range(30):
        inputs, _, _, starts = stack(seed, "generic", torch.float64, device)
        generator = torch.Generator().manual_seed(seed)
        table = (torch.rand(len(inputs), generator=generator) < 0.3).long().to(device)
        ties, other = Ties(tables, table, torch.zeros_like(table)), inputs.clone()
        module.equalise(inputs, ties)
        for row, which in enumerate(table.tolist()):
            made = [other[row, place] if place >= 0 else 0.0 for place in first[which].tolist()]
            assert inputs[row].tolist() == [float(number) for number in made]
        bound, before, after = 0.05 * torch.rand(3, len(inputs), generator=generator).to(device, torch.float64)
        zeros = torch.zeros(7, dtype=torch.bool, device=device)
        parts = (gate, inputs, ties, zeros, bound, before, after, starts)
        ours = module.leads_in_doubt(*parts)
        assert torch.equal(ours, reference.leads_in_doubt(*parts))
        found += len(ours)
    assert 0 < found < 30 * len(inputs)
