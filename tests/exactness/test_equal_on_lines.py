"""Numbers that are equal on a line by construction, against values in fractions, and walks on blank images."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from relu_regions import exact_interval, rational, walk
from relu_regions.backends import reference
from relu_regions.backends.cpu import compiled
from relu_regions.backends.ties import Ties, TieTables
from relu_regions.exactness import equal_on_lines as tables
from relu_regions.exactness import meeting_points as meeting
from relu_regions.exactness.equal_inputs import KINDS
from relu_regions.exactness.equal_on_lines import equal_everywhere, equal_on_lines
from relu_regions.exactness.meeting_points import meeting_points
from relu_regions.network.equal_grids import Grid, full
from relu_regions.network.network import Network
from relu_regions.network.plan import fused
from tests.true_walks import nothing_settled


def blank(seed: int, shape: tuple[int, ...], levels: int = 8) -> Tensor:
    """An image of few grey levels with blank parts, as scans of digits are."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(levels, shape, generator=generator).double() / levels
    image[..., :2, :], image[..., :, -2:] = 0, 0
    return torch.where(torch.rand(shape, generator=generator) < 0.4, 0.0, image)


def convolutional(seed: int, kind: int = 0) -> nn.Module:
    """A convolution, batch norm, ReLU and max pooling, twice, in an order of several."""
    torch.manual_seed(seed)
    first, second = nn.Conv2d(1, 3, 3, padding=1, bias=kind != 1), nn.Conv2d(3, 2, (2, 3), padding=(0, 1))
    norm = nn.BatchNorm2d(3)
    nn.init.normal_(norm.bias), nn.init.normal_(norm.running_mean), nn.init.uniform_(norm.weight, -2, 2)
    pooled = [nn.ReLU(), nn.MaxPool2d(2)]
    if kind == 2:
        pooled = [nn.MaxPool2d(2, 1), nn.LeakyReLU(0.2), nn.AvgPool2d(2, 1)]
    if kind == 3:
        pooled = [nn.PReLU(3, 0.1), nn.MaxPool2d(2)]
    layers = [first, norm, *pooled, second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(3)]
    model = nn.Sequential(*layers).double().eval()
    model(torch.zeros(1, 1, 8, 8, dtype=torch.float64))
    return model


def read(model: nn.Module, shape: tuple[int, ...] = (1, 8, 8)) -> Network:
    return Network.from_module(model, shape)


def true_values(network: Network, x: Tensor, d: Tensor, t: Fraction | None) -> dict[str, list[Fraction]]:
    """What gates read at t, in fractions; None for infinity, where only growth counts."""
    weight = 0 if t is None else 1
    point = [weight * Fraction(a) + (1 if t is None else t) * Fraction(b) for a, b in zip(x.tolist(), d.tolist())]
    values = {network.input_name: point}
    for step in network.steps:
        name = step.inputs[0]
        if step in network.gates:
            gate = step.gate
            if hasattr(gate, "windows"):
                made = [max(values[name][place] for place in window) for window in gate.windows.tolist()]
            else:
                made = [_bent(gate, unit, number, weight) for unit, number in enumerate(values[name])]
        else:
            shape = network.shapes[name]
            matrix = step.linear(torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)).flatten(1).T
            bias = torch.zeros(1, *step.shape) if step.bias is None else step.bias.expand(1, *step.shape)
            made = [
                sum((Fraction(a) * v for a, v in zip(row, values[name]) if a), Fraction(0)) + weight * Fraction(b)
                for row, b in zip(matrix.tolist(), bias.flatten().tolist())
            ]
        values[step.output] = made
    return {step.inputs[0]: values[step.inputs[0]] for step in network.gates}


def _bent(gate: object, unit: int, number: Fraction, weight: int) -> Fraction:
    knots, slopes, offsets = (part[:, unit % part.shape[1]].tolist() for part in gate.parts)
    piece = sum(number > weight * Fraction(knot) for knot in knots)
    return Fraction(slopes[piece]) * number + weight * Fraction(offsets[piece])


def assert_equal_where_told(seed: int, kind: int) -> int:
    """All that is told to be equal is so; how many numbers are told to be equal to another one or 0."""
    network = read(convolutional(seed, kind))
    x, d = blank(seed, (1, 1, 8, 8)), blank(seed + 100, (1, 1, 8, 8))
    d = d - x if seed % 2 else d
    meetings, count = meeting_points(network, x, d), 0
    found = equal_on_lines(network, x, d, meetings)
    places: list[tuple[int, Fraction | None]] = [(0, Fraction(n, 7)) for n in (-9, 3, 20)]
    places += [(1, Fraction(0)), (2, Fraction(1)), (3, None)]
    if meetings is not None:
        flat = x.flatten().tolist(), d.flatten().tolist()
        for number, pairs in enumerate(meetings.pairs):
            p, q = pairs[0].tolist()
            (a, b), (c, e) = ([Fraction(part[n]) if n >= 0 else Fraction(0) for n in (p, q)] for part in flat)
            places.append((KINDS + number, (a - b) / (e - c)))
    for table, t in places:
        values = true_values(network, x.flatten(), d.flatten(), t)
        for name, firsts in found.items():
            for number, first in enumerate(full(firsts)[table].tolist()):
                count += first != number
                assert values[name][number] == (values[name][first] if first >= 0 else 0), (name, table)
    return count


@pytest.mark.parametrize("kind", range(4))
def test_what_is_told_to_be_equal_is_so_in_fractions(kind: int) -> None:
    assert sum(assert_equal_where_told(seed, kind) for seed in range(2)) > 300


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("fuse", [False, True])
def test_grids_say_what_tables_of_all_numbers_say(monkeypatch: pytest.MonkeyPatch, kind: int, fuse: bool) -> None:
    network = read(convolutional(5, kind))
    network = fused(network) if fuse else network
    x, d = blank(3, (4, 1, 8, 8)), blank(4, (4, 1, 8, 8))
    made, grids = tables.EqualThrough._convolution, equal_on_lines(network, x, d, meeting_points(network, x, d))
    monkeypatch.setattr(tables.EqualThrough, "_convolution", lambda *given: full(made(*given)))
    others = equal_on_lines(network, x, d, meeting_points(network, x, d))
    assert grids.keys() == others.keys() and not any(isinstance(first, Grid) for first in others.values())
    assert all(torch.equal(full(first), full(others[name])) for name, first in grids.items())
    assert any(isinstance(first, Grid) for first in grids.values())
    for step in network.gates:
        if (name := step.inputs[0]) in grids:
            sources = torch.arange(1, 1 + full(grids[name]).shape[1])
            one, other = (TieTables.of(each[name], sources, step.gate) for each in (grids, others))
            assert_same_tables(one, other)


def assert_same_tables(one: TieTables, other: TieTables) -> None:
    """They say the same of every number and window."""
    table, numbers = torch.arange(len(one.alike)), torch.arange(len(one.column))
    ties, others = (Ties(tables, table, table) for tables in (one, other))
    assert torch.equal(*(each.ids(table, numbers.expand(len(table), -1)) for each in (ties, others)))
    assert torch.equal(ties.zeros(table), others.zeros(table)) and torch.equal(one.with_zeros, other.with_zeros)
    values = torch.randn(len(table), len(numbers), dtype=torch.float64)
    made = [values.clone() for _ in range(4)]
    for backend, (mine, theirs) in ((reference, made[:2]), (compiled, made[2:])):
        backend.equalise(mine, ties), backend.equalise(theirs, others)
    # A zero that stands in front is 0 already.
    assert all(torch.equal(part[:, one.channels[0] :], made[1][:, one.channels[0] :]) for part in made)
    assert torch.equal(one.whole, other.whole) and torch.equal(one.begun, other.begun)
    assert torch.equal(one.partly, other.partly)


@pytest.mark.parametrize("what", ["patches", "biases", "meetings"])
def test_tables_that_are_too_coarse_are_found_out(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "patches":
        monkeypatch.setattr(tables, "_where_same", lambda first, same, size: first)
        monkeypatch.setattr(tables, "_factors", lambda count, largest: torch.ones(count, dtype=torch.float64))
    elif what == "biases":
        monkeypatch.setattr(tables.EqualThrough, "_apart", lambda self, first, kind: first)
        monkeypatch.setattr(tables, "classes", lambda *parts: torch.zeros(len(parts[0]), dtype=torch.int64))
    else:
        everywhere = tables.of_inputs
        monkeypatch.setattr(tables, "of_inputs", lambda x, d: everywhere(x, 0 * d))
    with pytest.raises(AssertionError):
        sum(assert_equal_where_told(seed, seed) for seed in range(4))


def test_equal_rows_make_equal_units_on_every_line() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    with torch.no_grad():
        model[0].weight[3], model[0].bias[3] = model[0].weight[1], model[0].bias[1]
        model[0].weight[4] = model[0].weight[1]  # another bias
    network = read(model, (4,))
    assert equal_everywhere(network)[network.gates[0].inputs[0]].tolist() == [[0, 1, 2, 1, 4, 5]]
    x, d = torch.randn(2, 6, 4, dtype=torch.float64)
    assert differing(network, x, d, (-3.0, 3.0)) == ([], 6)
    assert not equal_everywhere(read(nn.Sequential(nn.Linear(4, 6), nn.ReLU()).double().eval(), (4,)))


def differing(network: Network, x: Tensor, d: Tensor, t_range: tuple[float, float]) -> tuple[list[int], int]:
    """The lines of a walk that are called certain and differ from the rational one, and how many are."""
    with nothing_settled():
        paths = walk(network, x, d, t_range)
    wrong = []
    for line in paths.certain.nonzero()[:, 0].tolist():
        path, true = paths[line], rational.walk(network, x[line : line + 1], d[line : line + 1], t_range)[0]
        flips = torch.stack([path.flips.gate, path.flips.unit, path.flips.before, path.flips.after], 1)
        found = [flips[path.flips.row == number].tolist() for number in range(1, len(path))]
        assert paths.t_error is not None
        errors = paths.t_error[paths.offsets[line] : paths.offsets[line + 1]][1:-1].tolist()
        places = zip(path.breakpoints.tolist(), errors, true.breakpoints)
        if (
            found != [[list(flip) for flip in point] for point in true.flips]
            or [pattern[line].tolist() for pattern in paths.first_patterns] != true.first_patterns
            or any(error != math.inf and abs(Fraction(t) - exact) > Fraction(error) for t, error, exact in places)
        ):
            wrong.append(line)
    return wrong, int(paths.certain.sum())


RANGES = [(-1.0, 2.0), (-math.inf, math.inf), (0.0, 1.0), (-0.5, math.inf)]


@pytest.mark.filterwarnings("ignore::relu_regions.UnprovenWarning")
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 40))])
def test_walks_on_blank_images_are_proven_and_true(seed: int) -> None:
    """Equal patches tie on whole lines, at t = 0 and t = 1, and where two of them meet."""
    network = read(convolutional(seed, (0, 1, 3)[seed % 3]))
    x = torch.stack([blank(10 * seed + line, (1, 8, 8)) for line in range(4)])
    other = torch.stack([blank(900 + 10 * seed + line, (1, 8, 8)) for line in range(4)])
    wrong, certain = differing(network, x, other - x, RANGES[seed % 4])
    assert not wrong and (certain >= 3 or seed >= 4)
    with nothing_settled():
        intervals = exact_interval(network, x, other - x)
    true = rational.exact_interval(network, x, other - x)
    for line in intervals.certain.nonzero()[:, 0].tolist():
        ours = intervals[line]
        assert (ours.label, ours.label_lo, ours.label_hi) == (
            true[line].label, true[line].label_lo, true[line].label_hi,
        )  # fmt: skip
    # With PReLU the fused maximum comes first, and what is constant behind it is not known as such at infinity.
    assert intervals.certain.sum() >= 3 or seed % 3 == 2 or seed >= 4


@pytest.mark.filterwarnings("ignore::relu_regions.UnprovenWarning")
def test_a_walk_that_takes_too_much_for_equal_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are equal at x alone are taken for equal everywhere."""
    everywhere = tables.of_inputs
    monkeypatch.setattr(tables, "of_inputs", lambda x, d: everywhere(x, 0 * d))
    wrong = []
    for seed in range(4):
        network = read(convolutional(seed))
        x, other = (torch.stack([blank(start + line, (1, 8, 8)) for line in range(4)]) for start in (10, 900))
        wrong += differing(network, x, other - x, (-1.0, 2.0))[0]
    assert wrong


def test_patches_without_equal_pixels_are_not_looked_at_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair of pixels that never meets keeps its patches apart; so does one that floats don't tell."""
    monkeypatch.setattr(meeting, "_near", lambda roots, wanted: pytest.fail("a search"))
    network = read(convolutional(0, 0))
    x, d = torch.randn(2, 3, 1, 8, 8, dtype=torch.float64)
    d[1, 0, 4] = 1.0  # a row of pixels whose differences stay
    found = meeting_points(network, x, d)
    assert found is not None and not len(found.t)
