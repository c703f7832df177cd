"""What the walk calls certain is the truth, and by default everything is certain."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.backends import kernel_for
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.walking import settle
from relu_regions.walking.segments import Segments
from relu_regions.walking.sweep import Sweep
from tests.models import Wrapped, mlp
from tests.networks import network_of
from tests.oracles import fractions_walk as truth
from tests.quick import examples, some_quick
from tests.strategies import FLAVOURS, GATES, LINES, Case, cases, make_case
from tests.true_walks import assert_true, nothing_settled, walked

# The truth's hardsigmoid has slope 1/6, which no float is.
EXACT = [name for name in GATES if name != "hardsigmoid"]
ANY = {"gates": st.lists(st.sampled_from(EXACT), min_size=1, max_size=2), "skips": st.booleans()}
MAXIMA = {**ANY, "gates": st.sampled_from([["maxout"], ["relu", "maxout"], ["maxout", "hardtanh"]])}


@examples(120, cases(**ANY), st.sampled_from([None, 1]))
def test_bounds_that_leave_no_doubt_are_right(case: Case, memory_budget: int | None) -> None:
    """Also with a budget of a byte, which cuts wherever a cut can be made."""
    with nothing_settled():
        paths = walked(case, memory_budget)
    assert not paths.settled.any()
    if paths.certain.all():
        assert_true(paths, case)


@examples(120, cases(**ANY))
def test_every_case_is_settled_by_default(case: Case) -> None:
    paths = walked(case)
    assert paths.certain.all()
    assert_true(paths, case)


@some_quick("line,flavour", LINES, FLAVOURS, one_in=5)
def test_each_flavour_on_each_line(flavour: str, line: str) -> None:
    for seed, (reach, bias) in enumerate([(2.0, True), (1000.0, False), (math.inf, True)]):
        case = make_case([4, 12, 9, 3], ["relu", "hardtanh"], flavour, line, (-reach, reach), bias=bias, seed=seed)
        paths = walked(case)
        assert paths.certain.all()
        assert_true(paths, case)


@examples(80, cases(**MAXIMA))
def test_bounds_of_maxima_that_leave_no_doubt_are_right(case: Case) -> None:
    with nothing_settled():
        paths, interval = walked(case), interval_of(case)
    if paths.certain.all():
        assert_true(paths, case)
    if interval.certain is not None and interval.certain.all():
        assert_true_interval(interval, case)


def tied_by_construction(seed: int) -> dict[str, nn.Module]:
    """Networks whose units tie along whole stretches or bend together, whatever their weights."""
    torch.manual_seed(seed)
    first, second = nn.Linear(6, 12), nn.Linear(12, 6)
    pooled = nn.Conv2d(2, 4, 3, padding=1)
    return {
        "relu of a relu": nn.Sequential(first, nn.ReLU(), nn.ReLU(), nn.Linear(12, 3)),
        "relu of a relu, turned": Wrapped(
            lambda m, x: m.b(torch.relu(torch.relu(m.a(x)).view(-1, 3, 4).transpose(1, 2).flatten(1))),
            a=first, b=second,
        ),
        "crelu": Wrapped(lambda m, x: m.b(torch.relu(torch.cat([(h := m.a(x)[:, :6]), -h], 1))), a=first, b=second),
        "maxima of zeros": Wrapped(
            lambda m, x: m.b(torch.maximum(h := torch.relu(m.a(x)), h.flip(1))), a=first, b=second
        ),
        "pooling after relu": nn.Sequential(
            pooled, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
        ),
        "overlapping pooling after relu": nn.Sequential(
            pooled, nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(36, 3)
        ),
        "pooling before relu": nn.Sequential(pooled, nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)),
    }  # fmt: skip


@pytest.mark.parametrize("name", tied_by_construction(0))
@pytest.mark.parametrize("t_range", [(-2.0, 2.0), (-math.inf, math.inf)], ids=["segment", "line"])
def test_ties_by_construction_are_certain_and_right(name: str, t_range: tuple[float, float]) -> None:
    model = tied_by_construction(1)[name].double().eval()
    shape = (2, 6, 6) if "pooling" in name else (6,)
    x, d = torch.randn(2, 4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    paths = rr.walk(model, x, d, t_range)
    assert paths.certain.all() and not paths.settled.any()
    for path, exact in zip(paths, rational.walk(model, x, d, t_range)):
        flips = torch.stack([path.flips.gate, path.flips.unit, path.flips.before, path.flips.after], 1)
        found = [flips[path.flips.row == number].tolist() for number in range(1, len(path))]
        assert found == [[list(flip) for flip in flips] for flips in exact.flips]
    interval = rr.exact_interval(model, x, d, t_range)
    assert interval.certain is not None and interval.certain.all()
    assert interval.settled is not None and not interval.settled.any()
    for number, true in enumerate(rational.exact_interval(model, x, d, t_range)):
        assert (interval.label_lo[number], interval.label_hi[number]) == (true.label_lo, true.label_hi)


def test_a_tie_of_classes_behind_a_clip_does_not_end_an_interval() -> None:
    # Both classes are clipped to 0.4 along a stretch; rounding made the float64 walk end the interval there.
    model = Wrapped(
        lambda m, x: torch.minimum(torch.maximum(m.a(x), m.b(x)), torch.tensor(0.4)),
        a=nn.Linear(5, 4), b=nn.Linear(5, 4),
    )  # fmt: skip
    torch.manual_seed(3)
    for layer in (model.a, model.b):
        layer.reset_parameters()
    model = model.double().eval()
    x, d = torch.randn(2, 40, 5, dtype=torch.float64)
    interval = rr.exact_interval(model, x, d)
    assert interval.certain is not None and interval.certain.all()
    for number, true in enumerate(rational.exact_interval(model, x, d)):
        assert interval.lo[number].item() == pytest.approx(float(true.lo), rel=1e-9)
        assert interval.hi[number].item() == pytest.approx(float(true.hi), rel=1e-9)
        assert (interval.label_lo[number], interval.label_hi[number]) == (true.label_lo, true.label_hi)


def two_units_that_bend_close_by(weight: list[list[float]], bias: list[float], second: list[float]) -> Case:
    """1-2-2 on the line itself; the second hidden unit of the first layer is ``second[0] t + second[1]``."""
    relu = ("knots", [0.0], [0.0, 1.0], [0.0, 0.0])
    first = ("affine", [[1.0], second[:1]], [0.0, second[1]])
    last = ("affine", [[1.0, -1.0], [0.0, 0.0]], [0.0, 0.1])
    return Case([first, relu, ("affine", weight, bias), relu, last], [0.0], [1.0], -1.0, 2.0)


@pytest.mark.parametrize(
    ("case", "alone", "true"),
    [
        (
            two_units_that_bend_close_by(
                [[0.9, -0.8], [6.3, -5.6000000000000005]], [-0.4, -2.8000000000000003], [-0.3, -0.9]
            ),
            [[0], [1], [0]],
            [[0], [0], [1]],
        ),
        (
            two_units_that_bend_close_by([[0.9, -0.5], [0.27, -0.15]], [0.2, 0.06], [-0.2, 0.9]),
            [[0], [0, 1]],
            [[0], [1], [0]],
        ),
    ],
    ids=["swapped", "merged"],
)
def test_where_float64_alone_is_wrong(case: Case, alone: list[list[int]], true: list[list[int]]) -> None:
    """Found by search; docs/exactness.md shows them."""
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    network = network_of(case.layers, 1)

    def units(paths: rr.Paths) -> list[list[int]]:
        flips = paths[0].flips
        return [flips.unit[flips.row == number].tolist() for number in range(1, len(paths[0]))]

    assert units(rr.walk(network, x, d, (-1, 2), resolve="never")) == alone
    paths = rr.walk(network, x, d, (-1, 2))
    assert units(paths) == true and paths.settled.all() and paths.certain.all()
    assert_true(paths, case)


def test_ordinary_networks_need_no_settling() -> None:
    torch.manual_seed(0)
    model = mlp(64, 64, 64, 10).eval()
    x, d = torch.randn(2, 50, 64)
    paths = rr.walk(model, x, d, (-1, 2))
    assert paths.certain.all() and int(paths.settled.sum()) <= 1
    assert paths.t_error is not None and float(paths.t_error.max()) < 1e-8


def test_cuts_raise_no_doubt() -> None:
    torch.manual_seed(0)
    model = mlp(16, 40, 30, 5).eval()
    x, d = torch.randn(2, 3, 16)
    whole, cut = (rr.walk(model, x, d, (-1, 2), memory_budget=budget) for budget in (None, 1))
    assert whole.certain.all() and cut.certain.all() and not cut.settled.any()
    assert torch.equal(whole.breakpoint_counts, cut.breakpoint_counts)
    assert ((whole.t - cut.t).abs() <= whole.t_error + cut.t_error).all()
    intervals = [rr.exact_interval(model, x, d, memory_budget=budget) for budget in (None, 1)]
    assert torch.allclose(intervals[0].hi, intervals[1].hi, rtol=1e-12) and intervals[1].certain.all()


@pytest.mark.parametrize("width", [16, 48, 128])
def test_a_bias_free_network_has_one_breakpoint_on_a_line_through_the_origin(width: int) -> None:
    torch.manual_seed(width)
    model = mlp(5, width, width, width, 3, bias=False).double().eval()
    d = torch.randn(4, 5, dtype=torch.float64)
    paths = rr.walk(model, -d, d, (-1, 3))
    assert paths.settled.all()
    assert paths.breakpoint_counts.tolist() == [1] * 4
    assert paths.t[1::3].tolist() == [1.0] * 4


@pytest.mark.parametrize("bias", [0.1, -0.7, 1e-9, 123.456])
def test_biases_one_float_apart_make_two_breakpoints(bias: float) -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.fill_(0.3)
        model[0].bias.copy_(torch.tensor([bias, math.nextafter(bias, math.inf)], dtype=torch.float64))
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    paths = rr.walk(model, zero, one, (-math.inf, math.inf))
    assert paths.certain.all() and paths.breakpoint_counts.tolist() == [2]
    assert paths.flips.unit.tolist() == [1, 0]


def test_a_mixed_batch_keeps_its_order() -> None:
    torch.manual_seed(0)
    model = mlp(5, 16, 16, 3, bias=False).double().eval()
    x, d = torch.randn(2, 6, 5, dtype=torch.float64)
    x[[1, 4]] = -d[[1, 4]]
    paths = rr.walk(model, x, d, (-2, math.inf))
    assert paths.settled.tolist() == [False, True, False, False, True, False]
    for index in range(6):
        alone = rr.walk(model, x[index : index + 1], d[index : index + 1], (-2, math.inf))
        assert torch.allclose(paths[index].t, alone.t, rtol=1e-12)
        assert torch.allclose(paths[index].outputs[:-1], alone[0].outputs[:-1], rtol=1e-12)
        for one, other in zip(paths[index].regions, alone[0].regions):
            assert all(torch.equal(a, b) for a, b in zip(one.pattern, other.pattern))


def test_auto_counts_what_the_exact_network_costs() -> None:
    """A convolution of 10^8 products goes to rational arithmetic for a single region only if that is asked for."""
    small, large = (
        rr.Network.from_module(nn.Sequential(nn.Conv2d(3, channels, 5), nn.ReLU()).eval(), (3, 36, 36))
        for channels in (2, 1024)
    )
    doubt, points = torch.tensor([True, False]), torch.tensor([3, 3])
    assert settle.worth_settling(doubt, points, "auto", small) == [0]
    assert settle.worth_settling(doubt, points, "auto", large) == []
    assert settle.worth_settling(doubt, points, "always", large) == [0]


def test_nothing_more_is_asked_of_a_stack_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bounds are those of a stack without doubt, and no test of a sign or a lead runs."""
    torch.manual_seed(0)
    layers = [
        nn.Conv1d(1, 2, 3),
        nn.ReLU(),
        nn.Conv1d(2, 3, 2),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(9, 2),
    ]
    network = rr.Network.from_module(nn.Sequential(*layers).double().eval(), (1, 9))
    x, d = torch.randn(2, 1, 1, 9, dtype=torch.float64)
    errors = []
    for doubted in (False, True):
        sweep = Sweep(
            network, Segments(x, d, torch.tensor([[0.0, 1.0]]).double()), certainty=Certainty(network, x.dtype)
        )
        points = sweep._start(0, 1)
        points.uncertain[:] = doubted
        if doubted:
            for name in ("rows_in_doubt", "leads_in_doubt", "fading"):
                monkeypatch.delattr(kernel_for(x.device), name)
        errors.append(sweep._finish(points).errors)
    assert errors[0].keys() == errors[1].keys() and len(errors[0]["shift"]) > 5
    assert all(torch.equal(error, errors[1][name]) for name, error in errors[0].items())


def test_never_leaves_doubt_alone() -> None:
    d = torch.randn(1, 5, dtype=torch.float64)
    model = mlp(5, 16, 3, bias=False).double().eval()
    paths = rr.walk(model, -d, d, (-1, 3), resolve="never")
    assert paths.t_error is None and not paths.certain.any() and not paths.settled.any()
    with pytest.raises(ValueError, match="resolve must be one of"):
        rr.walk(model, -d, d, (-1, 3), resolve="sometimes")  # type: ignore[arg-type]


def interval_of(case: Case) -> rr.Interval:
    x, d = (torch.tensor([numbers], dtype=torch.float64) for numbers in (case.x, case.d))
    return rr.exact_interval(network_of(case.layers, len(case.x)), x, d, (case.lo, case.hi))


def assert_true_interval(interval: rr.Interval, case: Case) -> None:
    expected = truth.exact_interval(case.layers, case.x, case.d, case.lo, case.hi)
    found = {name: column[0].item() for name, column in interval.numpy().items()}
    for name in ("label", "label_lo", "label_hi", "tied"):
        assert found[name] == getattr(expected, name), name
    for name in ("lo", "hi"):
        end, exact, error = found[name], getattr(expected, name), found[f"{name}_error"]
        assert end == exact or math.isinf(error) or abs(Fraction(end) - exact) <= Fraction(error), name


@examples(120, cases(**ANY))
def test_every_interval_is_settled_by_default(case: Case) -> None:
    interval = interval_of(case)
    assert interval.certain is not None and interval.certain.all()
    assert_true_interval(interval, case)


@examples(120, cases(**ANY))
def test_intervals_without_doubt_are_right(case: Case) -> None:
    with nothing_settled():
        interval = interval_of(case)
    if interval.certain is not None and interval.certain.all():
        assert_true_interval(interval, case)


def test_ordinary_intervals_need_no_settling() -> None:
    torch.manual_seed(0)
    model = mlp(64, 64, 64, 10).eval()
    x, d = torch.randn(2, 200, 64)
    interval = rr.exact_interval(model, x, d)
    assert interval.certain is not None and interval.certain.all()
    assert interval.settled is not None and int(interval.settled.sum()) <= 4


def test_bounds_in_float32_keep_to_float32_whatever_the_default() -> None:
    """A walk in float32 of a network with max pooling, where float64 is torch's default."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    model, (x, d) = nn.Sequential(*layers).eval(), torch.randn(2, 3, 1, 6, 6)
    usual = rr.walk(model, x, d, dtype=torch.float32)
    torch.set_default_dtype(torch.float64)
    try:
        paths = rr.walk(model, x, d, dtype=torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(paths.t, usual.t) and paths.certain.tolist() == usual.certain.tolist()
