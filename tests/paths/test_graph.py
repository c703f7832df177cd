"""The graph of regions against patterns compared one by one, and against pictures small enough to draw."""

from __future__ import annotations

import math
from itertools import pairwise

import networkx as nx
import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions.paths.graph import (
    class_components,
    degree_counts,
    region_at,
    region_graph,
    shared_regions,
    shortest_path,
)
from relu_regions.paths.pattern_keys import pattern_keys, region_keys
from relu_regions.regions.affine_maps import affine_map
from relu_regions.regions.norms import operator_norm
from relu_regions.regions.patterns import activation_patterns
from relu_regions.regions.polytope import Polytope
from tests.models import ARCHITECTURES, STEPS, Architecture, mlp, of_each

EVERY = of_each(STEPS)


def bundle(architecture: Architecture, reach: float = 2.0) -> rr.Paths:
    """Segments from one point: they share regions around it."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, *architecture.shape, generator=generator, dtype=torch.float64)
    d = torch.randn(4, *architecture.shape, generator=generator, dtype=torch.float64)
    return rr.walk(architecture.model(), x.expand_as(d), d, (-reach, reach))


def whole_patterns(paths: rr.Paths) -> list[tuple[int, ...]]:
    count = int(paths.region_offsets[-1])
    return list(map(tuple, torch.cat([*paths.patterns(), torch.zeros(count, 0, dtype=torch.int64)], 1).tolist()))


@EVERY
def test_equal_patterns_and_no_others_have_equal_keys(architecture: Architecture) -> None:
    paths = bundle(architecture)
    keys, patterns = region_keys(paths.network, paths.table), whole_patterns(paths)
    assert len(set(zip(keys, patterns))) == len(set(keys)) == len(set(patterns))
    if paths.network.gates:
        assert keys == pattern_keys(paths.network, paths.patterns())


@EVERY
def test_nodes_are_regions_and_edges_are_crossings(architecture: Architecture) -> None:
    if len(architecture.model()(torch.zeros(1, *architecture.shape, dtype=torch.float64)).shape) != 2:
        pytest.skip("no vector of logits")
    paths = bundle(architecture)
    graph, patterns = region_graph(paths), whole_patterns(paths)
    assert len(graph) == len(set(patterns))
    visits: dict[tuple[int, ...], set[int]] = {}
    crossings: dict[frozenset[tuple[int, ...]], set[int]] = {}
    for segment, (first, last) in enumerate(pairwise(paths.region_offsets.tolist())):
        for pattern in patterns[first:last]:
            visits.setdefault(pattern, set()).add(segment)
        for pair in pairwise(patterns[first:last]):
            crossings.setdefault(frozenset(pair), set()).add(segment)
    names = dict(zip(patterns, graph.graph["keys"]))
    assert all(graph.nodes[names[pattern]]["segments"] == segments for pattern, segments in visits.items())
    assert graph.number_of_edges() == len(crossings)
    sizes = [step.units for step in paths.network.gates]
    places = [(gate, unit) for gate, size in enumerate(sizes) for unit in range(size)]
    for pair, segments in crossings.items():
        one, other = pair
        edge = graph.edges[names[one], names[other]]
        assert edge["segments"] == segments
        assert edge["units"] == {place for place, a, b in zip(places, one, other) if a != b}


@pytest.mark.parametrize("reach", [2.0, math.inf])
def test_what_a_node_says_of_its_region(reach: float) -> None:
    torch.manual_seed(0)
    model = mlp(6, 12, 10, 4).double().eval()
    x, d = torch.randn(2, 3, 6, dtype=torch.float64)
    for p in (1, math.inf):
        graph = region_graph(rr.walk(model, x, d, (-reach, reach)), p)
        network = graph.graph["paths"].network
        for key, node in graph.nodes.items():
            point = node["point"][None]
            assert pattern_keys(network, activation_patterns(network, point)) == [key]
            assert model(point).argmax().item() == node["label"]
            assert node["norm"] == pytest.approx(operator_norm(affine_map(model, point)[0][0], p).item(), rel=1e-12)


def test_a_neighbour_across_a_facet_is_a_node_of_the_graph() -> None:
    torch.manual_seed(1)
    model = mlp(2, 8, 6, 3).double().eval()
    paths = rr.walk(model, torch.zeros(1, 2), torch.tensor([[1.0, 0.3]]), (-4, 4))
    graph = region_graph(paths)
    for before, after, edge in graph.edges(data=True):
        ((gate, unit),) = edge["units"]
        region = Polytope.at(model, graph.nodes[before]["point"])
        own = region.inequalities
        rows = [row for row in region.facets.tolist() if (own.gate[row], own.unit[row]) == (gate, unit)]
        beyond = [tuple(pieces[None] for pieces in region.neighbour(row)) for row in rows]
        assert [pattern_keys(paths.network, pattern) for pattern in beyond] == [[after]]


# ---------------------------------------------------------------- a picture: the four quadrants


def quadrants() -> tuple[nx.Graph, rr.Paths]:
    """relu(x) and relu(y) cut the plane into quadrants. Segment 0 goes right below the axis, 1 above it, 2 upwards."""
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        model[1].bias.copy_(torch.tensor([0.0, 0.5]))
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [2.0, -1.0]])
    d = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    paths = rr.walk(model, x, d, (0, 1))
    return region_graph(paths), paths


def test_four_quadrants() -> None:
    graph, _ = quadrants()
    assert len(graph) == 4 and graph.number_of_edges() == 3
    low_left, low_right = region_at(graph, 0, 0), region_at(graph, 0, 1)
    high_left, high_right = region_at(graph, 1, 0), region_at(graph, 1, 1)
    assert region_at(graph, 2, 0) == low_right and region_at(graph, 2, 1) == high_right
    assert region_at(graph, 0, 0.5) == low_right  # on the breakpoint: the region after it
    assert degree_counts(graph) == {1: 2, 2: 2}
    assert shared_regions(graph, [0], [1]) == set()
    assert shared_regions(graph, [0, 1], [2]) == {low_right, high_right}
    assert shortest_path(graph, low_left, high_left) == [low_left, low_right, high_right, high_left]
    assert graph.edges[low_left, low_right]["units"] == {(0, 0)}
    assert graph.edges[low_right, high_right]["units"] == {(0, 1)}
    # The logits are relu(x) and 1/2.
    assert [graph.nodes[node]["label"] for node in (low_left, high_left)] == [1, 1]
    assert sorted(class_components(graph, 1), key=min) == sorted([{low_left}, {high_left}], key=min)


def test_regions_that_nothing_connects() -> None:
    graph, _ = quadrants()
    graph.remove_edge(region_at(graph, 0, 1), region_at(graph, 1, 1))
    assert shortest_path(graph, region_at(graph, 0, 0), region_at(graph, 1, 0)) is None


def test_graphs_of_one_network_can_be_composed() -> None:
    architecture = ARCHITECTURES[0]
    generator = torch.Generator().manual_seed(0)
    x, d = torch.randn(2, 6, *architecture.shape, generator=generator, dtype=torch.float64)
    parts = [region_graph(rr.walk(architecture.model(), x[part], d[part])) for part in (slice(3), slice(3, 6))]
    whole = region_graph(rr.walk(architecture.model(), x, d))
    assert set(nx.compose(*parts)) == set(whole) and set(nx.compose(*parts).edges) == set(whole.edges)


def test_what_cannot_be_asked() -> None:
    graph, _ = quadrants()
    with pytest.raises(ValueError, match="outside of the segment's range"):
        region_at(graph, 0, 1.5)
    with pytest.raises(IndexError):
        region_at(graph, 3, 0)
    paths = rr.walk(nn.Conv1d(1, 1, 1).double().eval(), torch.zeros(1, 1, 3), torch.ones(1, 1, 3))
    with pytest.raises(ValueError, match="vector of logits"):
        region_graph(paths)
    with pytest.raises(ValueError, match="p must be"):
        region_graph(graph.graph["paths"], 3)


def test_a_single_output_has_classes_0_and_1() -> None:
    model = nn.Linear(1, 1, bias=False).double().eval()
    with torch.no_grad():
        model.weight.fill_(1.0)
    labels = [
        region_graph(rr.walk(model, torch.tensor([[at]]), torch.ones(1, 1), (0, 1))).nodes.data("label")
        for at in (1.0, -2.0)
    ]
    assert [[label for _, label in part] for part in labels] == [[1], [0]]
