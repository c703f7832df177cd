"""From point to point by columns of a matrix or a convolution: the full product, up to a rounding that is bounded."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.backends import reference
from relu_regions.backends.placement import Placement
from relu_regions.backends.threads import parts_of
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.shifts import Shifts
from relu_regions.network.gates import Gate, Knots, Maximum
from relu_regions.network.steps import AffineStep, Convolution, GateStep
from relu_regions.walking.segments import Segments
from relu_regions.walking.sweep import Sweep
from tests.backends.test_backends import stack

pytest.importorskip("numba")
compiled = import_module("relu_regions.backends.cpu.compiled")
loops = import_module("relu_regions.backends.cpu.loops")

# Channels in, out and groups; kernel, stride, padding, dilation; places of the input.
OPTIONS: list[tuple[tuple[int, int, int], dict[str, object], tuple[int, ...]]] = [
    ((2, 3, 1), {"kernel_size": 3}, (7,)),
    ((2, 4, 2), {"kernel_size": 4, "stride": 3, "padding": 2, "dilation": 2}, (11,)),
    ((3, 3, 3), {"kernel_size": 2, "padding": "same"}, (6,)),
    ((1, 2, 1), {"kernel_size": 5, "padding": "valid", "bias": False}, (9,)),
    ((2, 3, 1), {"kernel_size": 3, "padding": 1}, (4, 5)),
    ((4, 6, 2), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2)}, (5, 4)),
    ((2, 2, 1), {"kernel_size": (2, 3), "stride": 2, "padding": (0, 3), "dilation": (3, 2)}, (6, 7)),
    ((4, 4, 4), {"kernel_size": (4, 1), "padding": "same", "dilation": (2, 1), "bias": False}, (5, 3)),
    ((6, 3, 3), {"kernel_size": 1, "stride": 2}, (4, 4)),
]


@cache
def convolution(number: int, dtype: torch.dtype = torch.float64) -> tuple[AffineStep, tuple[int, ...]]:
    """The step of a convolution with random weights, and the shape of its input."""
    (channels, outputs, groups), options, places = OPTIONS[number]
    torch.manual_seed(number)
    kind = nn.Conv1d if len(places) == 1 else nn.Conv2d
    layer = kind(channels, outputs, groups=groups, **options)  # type: ignore[arg-type]
    network = rr.Network.from_module(layer.double().eval(), (channels, *places))
    step = network.steps[0].to(dtype, torch.device("cpu"))
    assert isinstance(step, AffineStep)
    return step, (channels, *places)


def matrix_of(step: AffineStep, shape: tuple[int, ...]) -> Tensor:
    """What each input number adds to each output number, by the step itself, ``(inputs, outputs)``."""
    numbers = torch.Size(shape).numel()
    return step.linear(torch.eye(numbers, dtype=step.constants[0].dtype).view(numbers, *shape)).flatten(1)


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_each_column_is_what_the_convolution_makes_of_one_number(number: int) -> None:
    step, shape = convolution(number)
    assert isinstance(step.form, Convolution)
    expected, columns = matrix_of(step, shape), step.columns.numpy()
    geometry = torch.tensor(step.form.geometry).numpy()
    for unit, column in enumerate(expected):
        found = torch.zeros_like(column)
        loops.add_column(1.0, columns, unit, geometry, found.numpy())
        assert torch.equal(found, column)


def test_where_columns_are_not_used() -> None:
    cases = [
        (nn.ConvTranspose2d(2, 2, 3), (2, 4, 4)),
        (nn.Conv3d(2, 2, 2), (2, 3, 3, 3)),
        (nn.Conv2d(3, 3, 1, groups=3), (3, 4, 4)),  # each output a multiple of one input
        (nn.Linear(3, 2), (4, 3)),
    ]
    for layer, shape in cases:
        step = rr.Network.from_module(layer.double().eval(), shape).steps[0]
        assert isinstance(step, AffineStep) and step.form is None


def gates(units: int) -> dict[str, Gate]:
    """Gates with so many outputs."""
    pooled = torch.arange(units)[:, None] + torch.tensor([0, 1, 4])
    slopes = torch.stack([torch.linspace(-1, 1, units), torch.ones(units)]).double()
    return {
        "relu": Knots.of([0], [0, 1], [0, 0]),
        "hardtanh": Knots.of([-0.5, 0.75], [0, 1, 0], [-0.5, 0, 0.75]),
        "a slope for each unit": Knots(torch.zeros(1, units).double(), slopes, torch.zeros(2, units).double()),
        "maximum": Maximum(pooled),
    }


def wide(seed: int, kind: str, dtype: torch.dtype, units: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The stack of the backends' tests with more numbers for each point."""
    _, position, weight, starts = stack(seed, kind, dtype)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(position), units, generator=generator, dtype=torch.float64)
    return (inputs.mul(1.5).round() if kind == "coincident" else inputs).to(dtype), position, weight, starts


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["generic", "coincident", "rays"])
@pytest.mark.parametrize("name", gates(1))
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_a_convolution_after_a_gate_up_to_rounding(number: int, name: str, kind: str, dtype: torch.dtype) -> None:
    step, shape = convolution(number, dtype)
    units = torch.Size(shape).numel()
    gate = gates(units)[name].to(dtype, torch.device("cpu"))
    for seed in range(3):
        inputs, position, weight, starts = wide(seed, kind, dtype, units + 4 if name == "maximum" else units)
        placed = reference.place(gate, inputs, position, weight, starts, True)
        inserted = None if weight is None else reference.insert(weight, placed)
        ours = compiled.bend_and_multiply(gate, inputs, inserted, placed, step)
        truth = reference.bend_and_multiply(gate, inputs, inserted, placed, step)
        assert ours.shape == truth.shape and len(placed.row) > 10
        assert (ours - truth).abs().max() <= 100 * torch.finfo(dtype).eps * truth.abs().max()


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("kind", ["generic", "coincident", "rays"])
@pytest.mark.parametrize("name", gates(1))
def test_threads_share_the_points_out(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of many lengths: also of two rows, with and without bends in the interval between two of them."""
    step, shape = convolution(4)
    units = torch.Size(shape).numel()
    gate = gates(units)[name]
    inputs, position, weight, starts = wide(1, kind, torch.float64, units + 4 if name == "maximum" else units)
    placed = reference.place(gate, inputs, position, weight, starts, True)
    inserted = None if weight is None else reference.insert(weight, placed)
    truth = reference.bend_and_multiply(gate, inputs, inserted, placed, step)
    lengths = []
    for rows in range(1, len(inputs) // 2 + 1):
        monkeypatch.setattr(compiled, "_rows_of_block", lambda *_, rows=rows: rows)
        for threads in (2, 9):
            torch.set_num_threads(threads)
            lengths += [stop - start for start, stop in parts_of(len(inputs), rows)]
            ours = compiled.bend_and_multiply(gate, inputs, inserted, placed, step)
            assert (ours - truth).abs().max() <= 1e-13 * truth.abs().max()
            assert torch.get_num_threads() == threads
    assert min(lengths) < 4 < max(lengths)


def test_a_wrong_kink_shows() -> None:
    """The tolerance above is no blanket: one bend's kink off by a millionth is seen."""
    step, shape = convolution(4)
    inputs, position, _, starts = wide(0, "generic", torch.float64, torch.Size(shape).numel())
    gate = gates(1)["relu"]
    placed = reference.place(gate, inputs, position, None, starts, True)
    rise = placed.crossings.rise.clone()
    rise[len(rise) // 2] *= 1 + 1e-6
    wrong = replace(placed, crossings=replace(placed.crossings, rise=rise))
    ours = compiled.bend_and_multiply(gate, inputs, None, wrong, step)
    truth = reference.bend_and_multiply(gate, inputs, None, placed, step)
    assert (ours - truth).abs().max() > 1e-10 * truth.abs().max()


def exact_gate(gate: Gate, numbers: list[Fraction]) -> list[Fraction]:
    if isinstance(gate, Maximum):
        return [max(numbers[i] for i in window) for window in gate.windows.tolist()]
    slopes, offsets, knots = (
        part.expand(-1, len(numbers)).tolist() for part in (gate.slopes, gate.offsets, gate.knots)
    )
    pieces = [sum(number > knot[u] for knot in knots) for u, number in enumerate(numbers)]
    return [Fraction(slopes[p][u]) * z + Fraction(offsets[p][u]) for u, (p, z) in enumerate(zip(pieces, numbers))]


def exact_rows(
    gate: Gate, inputs: Tensor, placed: Placement, step: AffineStep, shape: tuple[int, ...]
) -> list[Fraction]:
    """The product in fractions at every new point, of the gate of the line between the two ends of its interval."""
    matrix = [[Fraction(number) for number in column] for column in matrix_of(step, shape).T.tolist()]
    bias = torch.zeros(step.shape, dtype=inputs.dtype) if step.bias is None else step.bias.expand(step.shape)
    biases, found = [Fraction(number) for number in bias.flatten().tolist()], []
    for row, place in zip(placed.row.tolist(), placed.right.tolist()):
        here, there = ([Fraction(z) for z in inputs[at].tolist()] for at in (row, row + 1))
        bent = exact_gate(gate, [a + Fraction(place) * (b - a) for a, b in zip(here, there)])
        found += [sum(a * b for a, b in zip(line, bent) if a) + c for line, c in zip(matrix, biases)]
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["relu", "hardtanh", "maximum"])
def test_rounding_stays_within_its_bound(name: str, dtype: torch.dtype) -> None:
    """Against fractions: inputs without error, so that the bound is that of the running slope alone."""
    layer = nn.Sequential(nn.ReLU(), nn.Conv1d(2, 3, 3, padding=1, stride=2)).double().eval()
    network = rr.Network.from_module(layer, (2, 6)).to(dtype, "cpu")
    step, shape = network.steps[1], (2, 6)
    assert isinstance(step, AffineStep)
    certainty, gate = Certainty(network, dtype), gates(12)[name].to(dtype, torch.device("cpu"))
    for seed in range(4):
        # Numbers of different sizes, so that some outputs cancel.
        inputs, _, _, starts = wide(seed, "generic", dtype, 16 if name == "maximum" else 12)
        inputs[1::2] *= 1000
        position = torch.arange(len(inputs), dtype=dtype)
        placed = compiled.place(gate, inputs, position, None, starts, False)
        assert placed.inside.all() and len(placed.row) == len(placed.crossings.row) > 30
        ours = compiled.bend_and_multiply(gate, inputs, None, placed, step)
        none = inputs.new_zeros(len(inputs))
        shifts = Shifts(none, none, reference.largest(inputs))
        bound = certainty.multiplied(gate, step, inputs.new_zeros(len(placed)), placed, shifts)[placed.new_rows]
        truth = exact_rows(gate, inputs, placed, step, shape)
        found = [Fraction(number) for number in ours[placed.new_rows].flatten().tolist()]
        allowed = [Fraction(b) for b in bound.tolist() for _ in range(torch.Size(step.shape).numel())]
        errors = [abs(a - b) for a, b in zip(found, truth)]
        assert all(error <= most for error, most in zip(errors, allowed))
        assert max(errors) > 0 and max(allowed) < 10000 * max(errors)


def test_a_walk_uses_columns_behind_knots_and_maxima(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Conv2d(4, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double().eval()
    network, used = rr.Network.from_module(model, (1, 10, 10)), []
    multiply = compiled.bend_and_multiply

    def noting(gate: Gate, *arguments: object) -> Tensor:
        used.append(type(gate))
        result: Tensor = multiply(gate, *arguments)
        return result

    monkeypatch.setattr(compiled, "bend_and_multiply", noting)
    x, d = torch.randn(2, 2, 1, 10, 10, dtype=torch.float64)
    starts = torch.tensor([[0.0, 1.0]] * 2, dtype=torch.float64)
    for points in Sweep(network, Segments(x, d, starts)):
        at, line = points.values[network.output_name], points.segments.repeat_interleave(points.offsets.diff())
        with torch.no_grad():
            expected = model(x[line] + points.t.view(-1, 1, 1, 1) * d[line])
        assert len(points) > 100 and (at - expected).abs().max() <= 1e-13 * expected.abs().max()
    assert used == [Knots, Maximum]
    assert [type(step.gate) for step in network.steps if isinstance(step, GateStep)] == [Knots, Knots, Maximum, Knots]


class TwoViews(nn.Module):
    """A convolution's output, and a batch norm of a view of it: what the norm reads is needed afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(x)
        h = self.first(h)
        view = h.flatten(1).view(-1, 3, 6)
        return self.last(torch.relu(self.norm(view)).flatten(1) + h.flatten(1))


@pytest.mark.parametrize("t_range", [(-1.0, 2.0), (-float("inf"), float("inf"))], ids=["segment", "line"])
def test_a_batch_norm_overwrites_only_what_nobody_needs(t_range: tuple[float, float]) -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    for model in (TwoViews().double(), chain.double()):
        model.train()(torch.randn(9, 2, 8, dtype=torch.float64))
        model.eval()
        x, d = torch.randn(2, 1, 2, 8, dtype=torch.float64)
        before = x.clone(), d.clone()
        path = rr.walk(model, x, d, t_range)[0]
        t = path.breakpoints
        with torch.no_grad():
            expected = model(x + t.view(-1, 1, 1) * d)
        assert len(t) > 5 and torch.equal(x, before[0]) and torch.equal(d, before[1])
        assert (path.outputs_at(t) - expected).abs().max() <= 1e-12 * expected.abs().max()
