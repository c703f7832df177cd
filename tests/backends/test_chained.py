"""Chains taken in one go are what their gates and matrices are one by one."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.backends import Name, kernel_for, use
from relu_regions.backends.points import Points
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.whole_forms import WholeForms
from relu_regions.network.chains import Chain
from relu_regions.network.plan import chains
from relu_regions.network.steps import AffineStep
from relu_regions.walking.segments import Segments
from relu_regions.walking.sweep import Sweep
from tests.backends.backends import BACKENDS, Backend
from tests.models import Wrapped

pytest.importorskip("numba")
chained = import_module("relu_regions.backends.cpu.chained")
chain_block = import_module("relu_regions.backends.cpu.chain_block")
COMPILED = Backend("compiled", import_module("relu_regions.backends.cpu.compiled"), "cpu", 20)

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "hardtanh": nn.Hardtanh,
    "relu6": nn.ReLU6,
    "softshrink": nn.Softshrink,
}
RANGES = {"segment": (-1.0, 2.0), "line": (-torch.inf, torch.inf)}


def network_with(activation: type[nn.Module], widths: tuple[int, ...], dtype: torch.dtype) -> rr.Network:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    model = nn.Sequential(*layers[:-1]).double().eval()
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    return rr.Network.from_module(model, widths[:1]).to(dtype, "cpu")


def swept(
    network: rr.Network,
    x: Tensor,
    d: Tensor,
    t_range: tuple[float, float],
    bounded: bool,
    one_by_one: bool,
    backend: Backend = COMPILED,
) -> list[Points]:
    """The stacks that come out of a sweep: several where a chain leaves some segments to its links."""
    low, high = t_range
    x, d, network = x.to(backend.device), d.to(backend.device), network.to(x.dtype, backend.device)
    starts = torch.tensor([[low, 0.0, high]], dtype=x.dtype, device=x.device).expand(len(x), -1)
    certainty = Certainty(network, x.dtype) if bounded else None
    with use(backend.name):
        sweep = Sweep(network, Segments(x, d, starts), True, certainty=certainty)
        assert sweep._chains
        if one_by_one:
            sweep._chains = ()
        return list(sweep)


def assert_the_same(stacks: list[Points], one_by_one: list[Points], output: str, dtype: torch.dtype) -> None:
    (whole,) = one_by_one
    assert sorted(torch.cat([ours.segments for ours in stacks]).tolist()) == whole.segments.tolist()
    for ours in stacks:
        truth = whole.only(torch.isin(whole.segments, ours.segments)).at_bends(output)
        assert_equal(ours if ours.at_x is not None else ours.at_bends(output), truth, dtype)


def assert_equal(ours: Points, truth: Points, dtype: torch.dtype) -> None:
    assert torch.equal(ours.offsets, truth.offsets)
    assert all(torch.equal(getattr(ours.flips, f.name), getattr(truth.flips, f.name)) for f in fields(truth.flips))
    for name in ("first", "last"):
        mine, theirs = getattr(ours, name), getattr(truth, name)
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
    tolerance = 1e4 * torch.finfo(dtype).eps
    assert ours.at_x is not None and truth.at_x is not None and torch.equal(ours.at_x[0], truth.at_x[0])
    pairs = [(ours.position, truth.position), (ours.at_x[1], truth.at_x[1])]
    for mine, theirs in [*pairs, *((ours.values[n], v) for n, v in truth.values.items())]:
        assert torch.allclose(mine, theirs, rtol=tolerance, atol=tolerance)
    if truth.weight is not None:
        assert ours.weight is not None and torch.allclose(ours.weight, truth.weight, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("t_range", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chain_is_its_links(backend: Backend, name: str, t_range: tuple[float, float], dtype: torch.dtype) -> None:
    network, segments = network_with(ACTIVATIONS[name], (5, 30, 70, 9, 3), dtype), min(12, backend.seeds)
    x, d = torch.randn(2, segments, 5, dtype=dtype)
    ours, truth = (swept(network, x, d, t_range, False, one_by_one, backend) for one_by_one in (False, True))
    assert len(truth[0]) > 40 * segments
    assert_the_same(ours, truth, network.output_name, dtype)


@pytest.mark.parametrize("t_range", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_bounds_of_a_chain_are_those_of_its_links(backend: Backend, name: str, t_range: tuple[float, float]) -> None:
    """Up to what neighbouring segments in a stack add to one another's bounds where gates are taken one by one."""
    network = network_with(ACTIVATIONS[name], (5, 30, 20, 3), torch.float64)
    for seed in range(min(8, backend.seeds)):
        x, d = torch.randn(2, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        ours, truth = (swept(network, x, d, t_range, True, one_by_one, backend) for one_by_one in (False, True))
        assert_the_same(ours, truth, network.output_name, torch.float64)
        (one,) = (points if points.at_x is not None else points.at_bends(network.output_name) for points in ours)
        other = truth[0].at_bends(network.output_name)
        assert one.uncertain.tolist() == other.uncertain.tolist()
        assert one.errors.keys() == other.errors.keys()
        for key, bound in other.errors.items():
            assert torch.allclose(one.errors[key], bound, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("two_threads")
def test_threads_change_nothing_and_blocks_no_more_than_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_with(nn.ReLU, (5, 30, 40, 3), torch.float64)
    x, d = torch.randn(2, 60, 5, dtype=torch.float64)
    (whole,) = swept(network, x, d, (-1, 2), True, False)
    monkeypatch.setattr(chain_block, "_BLOCK_BYTES", 1 << 14)
    (cut,) = swept(network, x, d, (-1, 2), True, False)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    (alone,) = swept(network, x, d, (-1, 2), True, False)
    for ours in (cut, alone):
        assert_equal(ours, whole, torch.float64)
        assert torch.equal(ours.uncertain, whole.uncertain)
        assert all(torch.allclose(ours.errors[key], bound, rtol=1e-9) for key, bound in whole.errors.items())
    assert torch.equal(cut.position, alone.position) and torch.equal(cut.flips.row, alone.flips.row)
    assert all(torch.equal(cut.errors[key], bound) for key, bound in alone.errors.items())


@pytest.mark.parametrize("outputs", [1, 2, 3, 10, 16, 17])
def test_narrow_matrices(outputs: int) -> None:
    """Behind them as behind others, for each number of outputs that the loops take apart."""
    network = network_with(nn.LeakyReLU, (5, 30, outputs, 20, outputs), torch.float64)
    x, d = torch.randn(2, 6, 5, dtype=torch.float64)
    ours, truth = (swept(network, x, d, (-1, 2), True, one_by_one) for one_by_one in (False, True))
    assert_the_same(ours, truth, network.output_name, torch.float64)


@pytest.mark.usefixtures("two_threads")
def test_the_public_functions_leave_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_with(nn.ReLU, (5, 30, 40, 3), torch.float64)
    x, d = torch.randn(2, 60, 5, dtype=torch.float64)
    monkeypatch.setattr(chain_block, "_BLOCK_BYTES", 1 << 14)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append((rr.walk(network, x, d), rr.exact_interval(network, x, d)))
        assert torch.get_num_threads() == threads
    (paths, intervals), (others, same) = found
    assert torch.equal(paths.t, others.t) and torch.equal(paths.values, others.values)
    assert torch.equal(intervals.lo, same.lo) and torch.equal(intervals.hi, same.hi)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("front", "threads"), [([], 1), ([nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten()], 2)])
def test_convolutions_before_a_chain_keep_their_threads(front: list[nn.Module], threads: int) -> None:
    inputs = (1, 5) if front else (8,)
    model = nn.Sequential(*front, nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)).double().eval()
    network = rr.Network.from_module(model, inputs)
    assert chains(network)
    x, d = torch.randn(2, 3, *inputs, dtype=torch.float64)
    with Sweep(network, Segments(x, d, torch.tensor([[-1.0, 0.0, 2.0]]).expand(3, -1))).surroundings():
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", ["relu", "hardtanh"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_units_on_their_knots_and_crossings_at_one_t(
    backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers: units that are 0 at x or along whole lines, changes of piece at points, many crossings at once."""
    # Exact forms of such a network would take the place of chains.
    monkeypatch.setattr(WholeForms, "of", lambda network: None)
    network = network_with(ACTIVATIONS[name], (3, 12, 9, 2), torch.float64)
    for step in network.steps:
        if isinstance(step, AffineStep):
            step.constants[0].mul_(3).round_()
            assert step.bias is not None
            step.bias.mul_(3).round_()
    x, d = torch.randn(2, min(8, 2 * backend.seeds), 3, dtype=torch.float64).mul(2).round().abs().add(1)
    ours, truth = (swept(network, x, d, (-1, 2), True, one_by_one, backend) for one_by_one in (False, True))
    assert_the_same(ours, truth, network.output_name, torch.float64)
    for points in ours:
        assert torch.equal(points.uncertain, truth[0].uncertain[points.segments])
    assert truth[0].uncertain.any()


@pytest.mark.parametrize(("inputs", "first", "last"), [
    ((-1e-20, 1.0), 2, 2), ((1e-20, -1.0), 0, 0), ((-1.0, 1e-20), 0, 0), ((1.0, -1e-20), 2, 2),
])  # fmt: skip
@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_several_knots_of_a_unit_that_round_to_one_end(
    backend: Backend, one_by_one: bool, inputs: tuple[float, float], first: int, last: int
) -> None:
    """A unit that goes through both knots of a gate nearer to an end than a float can say has no region there."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Hardtanh(-5e-21, 5e-21), nn.Linear(1, 1)).double().eval()
    network = rr.Network.from_module(model, (1,)).to(torch.float64, backend.device)
    x, d = (torch.full((1, 1), number, dtype=torch.float64, device=backend.device) for number in (0.0, 1.0))
    ends = torch.tensor([[1.0, 2.0]], dtype=torch.float64, device=backend.device)
    with use(backend.name):
        sweep = Sweep(network, Segments(x, d, ends))
        if one_by_one:
            sweep._chains = ()
        points = sweep._start(0, 1)
        points.values = {name: torch.tensor(inputs).to(x).view(2, 1) for name in points.values}
        points = sweep._finish(points)
    flips = points.flips.before != points.flips.after
    assert not flips.any() and points.first[0].item() == first and points.last[0].item() == last


@pytest.mark.parametrize(("inputs", "first", "last"), [
    (((1.0, 0.0, -10.0), (0.0, 1e-20, 3e-20)), 0, 0), (((0.0, 1e-20, 3e-20), (1.0, 0.0, -10.0)), 0, 0),
])  # fmt: skip
@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_a_maximum_overtaken_twice_where_a_segment_ends(
    backend: Name, inputs: tuple[tuple[float, ...], ...], first: int, last: int
) -> None:
    """What leads on the segment is what leads before, or behind, all that rounds to its end."""
    model = nn.Sequential(nn.Linear(1, 3), nn.Unflatten(1, (1, 3)), nn.MaxPool1d(3), nn.Flatten(), nn.Linear(1, 1))
    network = rr.Network.from_module(model.double().eval(), (1,))
    x, d = (torch.full((1, 1), number, dtype=torch.float64) for number in (0.0, 1.0))
    with use(backend):
        sweep = Sweep(network, Segments(x, d, torch.tensor([[1.0, 2.0]], dtype=torch.float64)))
        points = sweep._start(0, 1)
        given = torch.tensor(inputs, dtype=torch.float64)
        points.values = {name: given.view(2, *value.shape[1:]) for name, value in points.values.items()}
        points = sweep._finish(points)
    assert points.first[0].item() == first and points.last[0].item() == last and not len(points.flips.row)


def test_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate with more units than a program takes at once, and points and crossings for several programs."""
    backend = next((p.values[0] for p in BACKENDS if p.id == "cuda"), None)
    if backend is None:
        pytest.skip("Triton is not installed")
    for number in ("_TILE", "_LANES"):
        monkeypatch.setattr(f"relu_regions.backends.cuda.chained.{number}", 32)
    for activation in (nn.ReLU, nn.Hardtanh):
        network = network_with(activation, (5, 37, 18, 3), torch.float64)
        x, d = torch.randn(2, 3, 5, dtype=torch.float64)
        ours, truth = (swept(network, x, d, (-1, 2), True, one_by_one, backend) for one_by_one in (False, True))
        assert_the_same(ours, truth, network.output_name, torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_record_and_without_bends(backend: Backend) -> None:
    network = network_with(nn.ReLU, (5, 12, 9, 3), torch.float64)
    x, d = (part.to(backend.device) for part in torch.randn(2, 2, 5, dtype=torch.float64))
    network = network.to(torch.float64, backend.device)
    starts = torch.tensor([[-1.0, 2.0], [0.0, 1e-9]], dtype=torch.float64, device=backend.device)
    with use(backend.name):
        (points,) = Sweep(network, Segments(x, d, starts), record=False)
    assert not len(points.flips.row) and not points.first
    assert points.offsets.diff()[1] == 2 < points.offsets.diff()[0]
    t = points.position.view(-1, 1)
    lines = torch.cat([x[:1].expand(int(points.offsets[1]), -1), x[1:].expand(2, -1)])
    along = torch.cat([d[:1].expand(int(points.offsets[1]), -1), d[1:].expand(2, -1)])
    assert torch.allclose(points.values[network.output_name], network(lines + t * along), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chain_that_needs_more_memory_than_allowed_is_left_alone(backend: Backend) -> None:
    network = network_with(nn.ReLU, (5, 30, 40, 3), torch.float64)
    x, d = torch.randn(2, 4, 5, dtype=torch.float64)
    (chain,) = chains(network.to(torch.float64, backend.device))
    through = backend.module.through
    points = given(network.to(torch.float64, backend.device), x.to(backend.device), d.to(backend.device))
    assert through(chain, points, True, False, 1 << 10, None, 1) is None
    passed = through(chain, points, True, False, 1 << 30, None, 1)
    assert passed is not None and passed.each > 1000
    assert len(passed.points) > len(points) and not points.flips.row.numel() and not points.first


def given(network: rr.Network, x: Tensor, d: Tensor) -> Points:
    starts = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64, device=x.device).expand(len(x), -1)
    return Sweep(network, Segments(x, d, starts))._start(0, len(x))


def test_what_a_chain_leaves_to_its_links() -> None:
    network = network_with(nn.ReLU, (5, 30, 40, 3), torch.float64)
    (chain,) = chains(network)
    x, d = torch.randn(2, 4, 5, dtype=torch.float64)
    assert chained.through(chain, given(network, x, d), True, False, 1 << 30, None, 1) is not None
    dead = network_with(nn.ReLU, (5, 30, 40, 3), torch.float64)
    dead.steps[0].constants[0][3] = 0.0  # a unit that is 0 on every line
    dead.steps[0].bias[3] = 0.0
    (chain,) = chains(dead)
    assert chained.through(chain, given(dead, x, d), True, False, 1 << 30, None, 1) is None
    assert chained.through(chain, given(dead, x, d), False, False, 1 << 30, None, 1) is not None
    truth = swept(dead, x, d, (-1, 2), False, one_by_one=True)
    assert_the_same(swept(dead, x, d, (-1, 2), False, one_by_one=False), truth, dead.output_name, torch.float64)


def test_a_line_that_a_chain_leaves_does_not_keep_the_others_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_with(nn.ReLU, (5, 30, 40, 3), torch.float64)
    x, d = torch.randn(2, 20, 5, dtype=torch.float64)
    first = network.steps[0]
    # On the eighth line a unit is exactly 0 at x: its bias is what the others add up to.
    first.constants[0][0] = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    first.bias[0], x[7, 0] = -0.5, 0.5
    taken: list[tuple[int, bool]] = []
    through = chained.through

    def counted(chain: Chain, points: Points, *others: Any) -> Any:
        passed = through(chain, points, *others)
        taken.append((len(points.segments), passed is not None))
        return passed

    monkeypatch.setattr(kernel_for(x.device), "through", counted)
    paths = rr.walk(network, x, d, resolve="never")
    assert sum(count for count, passed in taken if passed) >= 19
    alone = rr.walk(network, x[7:8], d[7:8], resolve="never")
    assert torch.allclose(paths[7].t, alone.t, rtol=1e-12) and torch.equal(paths[7].flips.unit, alone.flips.unit)


def test_a_backend_without_chains_takes_a_stack_as_a_whole() -> None:
    network = network_with(nn.ReLU, (5, 30, 40, 3), torch.float64)
    x, d = torch.randn(2, 6, 5, dtype=torch.float64)
    truth = swept(network, x, d, (-1, 2), True, one_by_one=True)
    starts = torch.tensor([[-1.0, 0.0, 2.0]], dtype=x.dtype).expand(len(x), -1)
    with use("reference"):
        stacks = list(Sweep(network, Segments(x, d, starts), certainty=Certainty(network, x.dtype)))
    assert len(stacks) == 1
    assert_the_same(stacks, truth, network.output_name, torch.float64)


def test_chains_of_networks() -> None:
    mlp = network_with(nn.ReLU, (5, 8, 7, 3), torch.float64)
    (chain,) = chains(mlp)
    assert (chain.start, chain.units) == (1, (8, 7))
    assert chain.after(1) is chain and chain.after(2) is None and chain.after(5) is None
    rest = chain.after(3)
    assert rest is not None and rest.units == (7,) and rest.name == mlp.steps[2].output
    residual = Wrapped(lambda m, x: m.c(torch.relu(m.b(torch.relu(h := m.a(x)))) + h),
                       a=nn.Linear(5, 6), b=nn.Linear(6, 6), c=nn.Linear(6, 2))  # fmt: skip
    assert chains(rr.Network.from_module(residual.eval(), (5,))) == ()
    convolutional = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)
    ).eval()
    (chain,) = chains(rr.Network.from_module(convolutional, (1, 6, 6)))
    assert chain.units == (6,) and chain.links[0].number == 2
