"""Regions as polyhedra against qhull, cvxpy, fractions, and the network itself."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, HalfspaceIntersection
from torch import nn

import relu_regions as rr
from relu_regions.network.steps import GateStep, evaluate
from relu_regions.regions.patterns import activation_patterns
from relu_regions.regions.polytope import Polytope
from tests.models import Wrapped, mlp
from tests.networks import network_of
from tests.oracles.fractions_map import exact_map
from tests.strategies import GATES, Case, cases

WITH_POLYTOPES = st.lists(st.sampled_from([n for n in GATES if n != "order statistics"]), min_size=1, max_size=2)

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky relu": lambda: nn.LeakyReLU(0.2),
    "hardtanh": lambda: nn.Hardtanh(-0.3, 0.4),
    "maxout": None,
}
SHAPES = pytest.mark.parametrize(
    ("sizes", "activation"),
    [((2, 20, 20, 3), name) for name in ACTIVATIONS] + [((3, 12, 12, 3), name) for name in ACTIVATIONS],
    ids=lambda part: str(part[0]) if isinstance(part, tuple) else part,
)


def model_of(sizes: tuple[int, ...], activation: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if activation == "maxout":
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes[:-1]):
            layers += [nn.Linear(before, 2 * after), nn.Unflatten(1, (1, -1)), nn.MaxPool1d(2), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(*sizes[-2:])).double().eval()
    return mlp(*sizes, activation=ACTIVATIONS[activation]).double().eval()


def sample(sizes: tuple[int, ...], count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, sizes[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(region: Polytope) -> tuple[np.ndarray, np.ndarray]:
    return region.matrix.numpy(), region.bounds.numpy()


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


def qhull(region: Polytope) -> tuple[HalfspaceIntersection, np.ndarray]:
    """The region's corners, and which inequality each of qhull's halfspaces is."""
    matrix, bounds = numbers(region)
    centre = region.chebyshev()[0].flatten().numpy()
    moving = np.abs(matrix).sum(1) > 0
    return HalfspaceIntersection(np.column_stack([matrix, -bounds])[moving], centre), np.flatnonzero(moving)


def corners_on(hull: HalfspaceIntersection, halfspace: int) -> np.ndarray:
    """The corners of one facet."""
    belongs = [halfspace in facet for facet in hull.dual_facets]
    return hull.intersections[belongs]


# ---------------------------------------------------------------- inequalities


@SHAPES
def test_a_region_is_the_points_of_its_pattern(sizes: tuple[int, ...], activation: str) -> None:
    model = model_of(sizes, activation)
    region = Polytope.at(model, sample(sizes, 1)[0])
    centre, radius = region.within(-3, 3).chebyshev()
    points = centre + 3 * radius * sample(sizes, 2000)
    patterns = activation_patterns(region.network, points)
    expected = torch.stack([(a == b).all(1) for a, b in zip(patterns, region.pattern)]).all(0)
    assert torch.equal(region.contains(points), expected)
    assert 50 < expected.sum() < 1950


@settings(max_examples=60, deadline=None)
@given(cases(gates=WITH_POLYTOPES, skips=st.booleans()), st.randoms(use_true_random=False))
def test_inequalities_are_those_of_fractions(case: Case, random) -> None:
    """Each one says which unit bends: it must be the unit's distance from its knot or rival, for any pattern."""
    network = network_of(case.layers, len(case.x))
    gates = [number for number, layer in enumerate(case.layers) if layer[0] in ("knots", "maximum")]
    pattern = []
    for number, step in zip(gates, network.gates):
        kind, first = case.layers[number][0], case.layers[number][1]
        counts = [len(window) for window in first] if kind == "maximum" else [step.gate.piece_count] * step.units
        pattern.append([random.randrange(count) for count in counts])
    found = Polytope.of_pattern(network, tuple(map(torch.tensor, pattern))).inequalities
    read = [exact_map(case.layers[:number], len(case.x), pattern) for number in gates]
    for row in range(len(found)):
        gate, unit, piece = (int(part[row]) for part in (found.gate, found.unit, found.piece))
        inputs = read[gate]
        kind, *description = case.layers[gates[gate]]
        own = pattern[gate][unit]
        if kind == "maximum":
            window = description[0][unit]
            expected = [a - b for a, b in zip(inputs[window[piece]], inputs[window[own]])]
        else:
            knots = description[0][unit] if isinstance(description[0][0], list) else description[0]
            expected = list(inputs[unit])
            expected[-1] -= Fraction(knots[min(own, piece)])
            expected = [number if piece > own else -number for number in expected]
        line = np.array([*found.matrix[row].tolist(), -found.bounds[row].item()])
        scale = max(abs(float(number)) for row in inputs for number in row) + 10
        np.testing.assert_allclose(line, np.array(list(map(float, expected))), rtol=1e-9, atol=1e-11 * scale)


# ---------------------------------------------------------------- facets and neighbours


@SHAPES
@pytest.mark.parametrize("seed", range(3))
def test_facets_are_those_of_qhull(sizes: tuple[int, ...], activation: str, seed: int) -> None:
    region = Polytope.at(model_of(sizes, activation, seed), sample(sizes, 1, seed)[0]).within(-2, 2.5)
    hull, moving = qhull(region)
    assert region.facets.tolist() == sorted(moving[hull.dual_vertices].tolist())


@SHAPES
def test_neighbours_differ_in_one_unit_and_lead_back(sizes: tuple[int, ...], activation: str) -> None:
    model = model_of(sizes, activation)
    for x in sample(sizes, 3):
        region = Polytope.at(model, x).within(-10, 10)
        hull, moving = qhull(region)
        crossings = [row for row in region.facets.tolist() if region.inequalities.gate[row] >= 0]
        assert crossings
        for row in crossings:
            beyond = region.neighbour(row)
            gate, unit = int(region.inequalities.gate[row]), int(region.inequalities.unit[row])
            changed = [(a != b).nonzero()[:, 0].tolist() for a, b in zip(region.pattern, beyond)]
            assert changed == [[unit] if number == gate else [] for number in range(len(changed))]
            assert beyond[gate][unit] == region.inequalities.piece[row]
            across = Polytope.of_pattern(region.network, beyond)
            corners = corners_on(hull, list(moving).index(row))
            middle = torch.from_numpy(corners.mean(0)) + 1e-9 * region.matrix[row] / region.matrix[row].norm()
            if np.ptp(corners, 0).max() > 1e-6:
                assert across.contains(middle[None]).all() and not region.contains(middle[None]).any()
                assert same(tuple(pieces[0] for pieces in activation_patterns(region.network, middle[None])), beyond)
            back = [
                i
                for i in range(len(across))
                if across.inequalities.gate[i] == gate and across.inequalities.unit[i] == unit
            ]
            assert any(same(across.neighbour(i), region.pattern) for i in back)


def test_all_regions_of_a_plane_are_reached_from_one() -> None:
    """From neighbour to neighbour: as many regions as a fine grid meets, each with its own map."""
    model = model_of((2, 5, 5, 2), "relu", 3)
    network = rr.Network.from_module(model, (2,))
    start = Polytope.at(network, torch.zeros(2, dtype=torch.float64))
    found, waiting = {}, [start]
    while waiting:
        region = waiting.pop().within(-2, 2)
        key = tuple(torch.cat(region.pattern).tolist())
        if key in found:
            continue
        found[key] = region
        for row in region.facets.tolist():
            if region.inequalities.gate[row] >= 0:
                waiting.append(Polytope.of_pattern(network, region.neighbour(row)))
    axis = torch.linspace(-2, 2, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    met = {tuple(row) for row in torch.cat(activation_patterns(network, grid), 1).unique(dim=0).tolist()}
    assert met <= found.keys()
    slim = [region.chebyshev()[1] for key, region in found.items() if key not in met]
    assert len(slim) < len(met) and all(radius < 0.005 for radius in slim)
    area = sum(area_of(region) for region in found.values())
    assert area == pytest.approx(16, rel=1e-8)


def sorting(seed: int) -> rr.Network:
    torch.manual_seed(seed)
    model = Wrapped(
        lambda m, x: m.c(m.b(m.a(x).view(-1, 2, 3).sort(2).values.flatten(1)).view(-1, 5).median(1, keepdim=True)[0]),
        a=nn.Linear(2, 6), b=nn.Linear(6, 5), c=nn.Linear(1, 2),
    )  # fmt: skip
    return rr.Network.from_module(model.double().eval(), (2,))


def orders(network: rr.Network, points: torch.Tensor) -> torch.Tensor:
    """Which inputs of each unit's window are above it, and which is it; a row for each point."""
    values, found = {network.input_name: points}, []
    for step in network.steps:
        values[step.output] = evaluate(step, [values[name] for name in step.inputs])
        if isinstance(step, GateStep):
            numbers = values[step.inputs[0]].flatten(1)[:, step.gate.windows]
            found.append((numbers - values[step.output].flatten(1)[..., None]).sign().flatten(1))
    return torch.cat(found, 1)


@pytest.mark.parametrize("seed", range(3))
def test_where_numbers_are_sorted_it_is_the_part_around_the_point(seed: int) -> None:
    network, points = sorting(seed), 2 * sample((2,), 2000)
    region = Polytope.at(network, points[0])
    inside = (orders(network, points) == orders(network, points[:1])).all(1)
    assert torch.equal(region.contains(points), inside) and 3 < inside.sum() < 1900
    same_pattern = torch.cat([(a == a[0]).all(1)[:, None] for a in activation_patterns(network, points)], 1).all(1)
    assert (same_pattern | ~inside).all()
    with pytest.raises(rr.UnsupportedOperation, match=r"sorts its numbers.*Polytope\.at"):
        Polytope.of_pattern(network, region.pattern)


@pytest.mark.parametrize("seed", range(2))
def test_the_parts_where_numbers_are_sorted_tile_a_plane(seed: int) -> None:
    """From neighbour to neighbour, over the middle of each facet, with the pattern that is said to be there."""
    network = sorting(seed)
    found, waiting, areas = list[Polytope](), [torch.zeros(2, dtype=torch.float64)], 0.0
    while waiting:
        point = waiting.pop()
        if any((region.slack(point[None]) > 0).all() for region in found):
            continue
        region = Polytope.at(network, point).within(-2, 2)
        found.append(region)
        areas += area_of(region)
        corners = torch.from_numpy(qhull(region)[0].intersections)
        for row in region.facets.tolist():
            if region.inequalities.gate[row] >= 0:
                normal = region.matrix[row] / region.matrix[row].norm()
                # Inequalities of two units are the same where two numbers change places.
                ends = corners[region.slack(corners)[:, row].abs() <= 1e-9 * region.matrix[row].norm()]
                waiting.append(ends.mean(0) + 1e-8 * normal)
                beyond = tuple(pieces[0] for pieces in activation_patterns(network, waiting[-1][None]))
                assert same(region.neighbour(row), beyond)
    assert areas == pytest.approx(16, rel=1e-7) and len(found) > 20


def area_of(region: Polytope) -> float:
    return ConvexHull(qhull(region)[0].intersections).volume


def weights(*layers: list[list[float]]) -> nn.Module:
    """A ReLU network without biases from its matrices."""
    model = mlp(len(layers[0][0]), *(len(layer) for layer in layers), bias=False).double().eval()
    with torch.no_grad():
        for linear, layer in zip(model[::2], layers):
            linear.weight.copy_(torch.tensor(layer))
    return model


@pytest.mark.parametrize(
    ("first", "second", "beyond"),
    [
        ([[1.0, 0], [3.0, 0], [-0.7, 0], [0, 1]], [[1.0, 1, 1, 1]], ([0, 0, 1, 1], [1])),  # multiples of one unit
        ([[1.0, 0], [-1.0, 0], [0, 1]], [[1.0, 0, 0], [1, 1, 0]], ([0, 1, 1], [0, 1])),  # relu(x); |x|
        ([[1.0, 0], [-1.0, 0], [0, 1]], [[2.0, -1, 0], [1, 0, 1]], ([0, 1, 1], [0, 1])),  # it crosses zero with them
    ],
)
def test_units_that_bend_together_flip_together(first, second, beyond) -> None:
    """Across x = 0 from (1, 1): every unit that bends there has the piece that it has at (-1, 1)."""
    model = weights(first, second, [[1.0] * len(second)])
    region = Polytope.at(model, torch.tensor([1.0, 1.0], dtype=torch.float64))
    there = activation_patterns(region.network, torch.tensor([[-1.0, 1.0]], dtype=torch.float64))
    assert [pieces[0].tolist() for pieces in there] == list(beyond)
    row = next(row for row in region.facets.tolist() if region.matrix[row, 1] == 0)
    assert [pieces.tolist() for pieces in region.neighbour(row)] == list(beyond)


def test_equal_inequalities_have_one_facet() -> None:
    region = Polytope.at(weights([[1.0, 0], [1.0, 0], [0, 1], [0, 2]], [[1.0] * 4]), torch.ones(2, dtype=torch.float64))
    assert len(region.facets) == 2


def test_what_has_no_neighbour() -> None:
    region = Polytope.at(model_of((2, 5, 2), "relu"), torch.zeros(2)).within(-1, 1)
    with pytest.raises(ValueError, match="side of a box"):
        region.neighbour(len(region) - 1)
    with pytest.raises(IndexError, match=f"of {len(region)}"):
        region.neighbour(len(region))


# ---------------------------------------------------------------- balls and distances


@SHAPES
@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_the_largest_ball(sizes: tuple[int, ...], activation: str, p: float) -> None:
    region = Polytope.at(model_of(sizes, activation), sample(sizes, 1)[0]).within(-2, 2)
    centre, radius = region.chebyshev(p)
    assert region.distance(centre[None], p).item() == pytest.approx(radius, rel=1e-8)
    matrix, bounds = numbers(region)
    point, size = cvxpy.Variable(sizes[0]), cvxpy.Variable()
    lengths = np.linalg.norm(matrix, {1: math.inf, 2: 2, math.inf: 1}[p], axis=1)
    best = cvxpy.Problem(cvxpy.Maximize(size), [matrix @ point + lengths * size <= bounds]).solve(solver=cvxpy.CLARABEL)
    assert radius == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_distance_is_to_the_nearest_point_of_a_facet(p: float) -> None:
    model = model_of((3, 12, 12, 3), "relu")
    for x in sample((3,), 4):
        region = Polytope.at(model, x)
        matrix, bounds = numbers(region)
        nearest = []
        for row in region.facets.tolist():
            point = cvxpy.Variable(3)
            move = cvxpy.Minimize(cvxpy.norm(point - x.numpy(), p if p != math.inf else "inf"))
            nearest.append(
                cvxpy.Problem(move, [matrix @ point <= bounds, matrix[row] @ point == bounds[row]]).solve(
                    solver=cvxpy.CLARABEL
                )
            )
        assert region.distance(x[None], p).item() == pytest.approx(min(nearest), rel=1e-6, abs=1e-9)


def test_small_regions_have_their_digits() -> None:
    """The same region 1e11 times smaller has a ball as much smaller, to ten digits."""
    model = model_of((2, 10, 2), "relu", 1)
    radius = Polytope.at(model, sample((2,), 1)[0]).within(-1, 1).chebyshev()[1]
    with torch.no_grad():
        model[0].weight.mul_(1e11)
    small = Polytope.at(model, sample((2,), 1)[0] * 1e-11).within(-1e-11, 1e-11).chebyshev()[1]
    assert small * 1e11 == pytest.approx(radius, rel=1e-10)


def test_a_cone_holds_every_ball() -> None:
    model = mlp(2, 9, 8, 3, bias=False).double().eval()
    region = Polytope.at(model, sample((2,), 1)[0])
    centre, radius = region.chebyshev()
    assert radius == math.inf and region.distance(centre[None]).item() == pytest.approx(1)
    assert len(region.facets) == 2
    for row in region.facets.tolist():
        assert not same(region.neighbour(row), region.pattern)


def test_a_network_without_gates_has_one_region() -> None:
    model = nn.Linear(3, 2).double().eval()
    x = sample((3,), 1)[0]
    region = Polytope.at(model, x)
    assert len(region) == 0 and region.contains(x[None]).all() and region.facets.tolist() == []
    assert region.distance(x[None]).item() == math.inf and region.chebyshev()[1] == math.inf
    difference = model.weight.detach()[0] - model.weight.detach()[1]
    margin = (model(x)[0] - model(x)[1]).abs().item()
    change = region.smallest_change(x)
    assert change.distance == pytest.approx(margin / difference.abs().sum().item(), rel=1e-9)


def test_a_pattern_of_no_region_has_no_interior() -> None:
    network = rr.Network.from_module(weights([[1.0, 0], [-1.0, 0]], [[1.0, 1]]), (2,))
    for pattern in ([1, 1], [0, 0]):  # the first is empty, the second the line x = 0
        region = Polytope.of_pattern(network, (torch.tensor(pattern),))
        with pytest.raises(ValueError, match="no interior"):
            region.chebyshev()
        with pytest.raises(ValueError, match="no interior"):
            _ = region.facets


def test_points_outside_and_of_another_shape_are_refused() -> None:
    region = Polytope.at(model_of((2, 5, 2), "relu"), torch.zeros(2)).within(-1, 1)
    with pytest.raises(ValueError, match="outside"):
        region.distance(torch.tensor([[0.0, 0.0], [9.0, 9.0]]))
    with pytest.raises(ValueError, match="outside"):
        region.smallest_change(torch.tensor([9.0, 9.0]))
    with pytest.raises(ValueError, match="batch of points"):
        region.contains(torch.zeros(2))
    with pytest.raises(ValueError, match="p must be"):
        region.distance(torch.zeros(1, 2), 3)
    with pytest.raises(ValueError, match="box is empty"):
        region.within(1, 1)
