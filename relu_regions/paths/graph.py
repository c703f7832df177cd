"""The graph of the regions that a bundle of segments visits, and what to ask of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import networkx as nx
import torch
from torch import Tensor

from relu_regions.lines.decision import Decision
from relu_regions.paths.paths import Paths
from relu_regions.paths.pattern_keys import region_keys
from relu_regions.regions.norms import Norm

__all__ = ["class_components", "degree_counts", "region_at", "region_graph", "shared_regions", "shortest_path"]


def region_graph(paths: Paths, p: Norm = torch.inf) -> nx.Graph:
    """The regions that segments cross, as nodes, and the crossings from one to the next, as edges.

    Regions of equal pattern are one node, whichever segment visits them; the node is the pattern's key (see
    ``relu_regions.paths.pattern_keys.pattern_keys``), so that graphs of the same network can be composed.

    A node has: ``label``, the class at its interior point (other classes may win elsewhere in the region); ``norm``, of
    its map; ``point``, an interior point ``(*input_shape)``, on the first segment that visits it; and ``segments``, the
    set of those that do. An edge has: ``units``, the set of (gate, unit) that have another piece on its other side; and
    ``segments``, that cross there.

    Args:
        paths: what a walk found.
        p: which norm, as ``relu_regions.regions.norms.operator_norm``.

    Raises:
        ValueError: the network's output is no vector of logits, or p is no known norm.
    """
    graph = nx.Graph()
    table = paths.table
    keys, owners = region_keys(paths.network, table), table.segments(table.numbers()).tolist()
    points, labels = _interior(paths)
    attributes = zip(keys, owners, labels.tolist(), paths.norms(p).tolist(), points)
    for key, segment, label, norm, point in attributes:
        if key not in graph:
            graph.add_node(key, label=label, norm=norm, point=point, segments=set())
        graph.nodes[key]["segments"].add(segment)
    flips, region = table.flips_between(0, len(paths.t) - 1)
    crossed: dict[int, set[tuple[int, int]]] = {}
    for number, gate, unit in zip(region.tolist(), flips.gate.tolist(), flips.unit.tolist()):
        crossed.setdefault(number, set()).add((gate, unit))
    for number, units in crossed.items():
        before, after = keys[number - 1], keys[number]
        if not graph.has_edge(before, after):
            graph.add_edge(before, after, units=units, segments=set())
        graph.edges[before, after]["segments"].add(owners[number])
    graph.graph.update(paths=paths, keys=keys)
    return graph


def _interior(paths: Paths) -> tuple[Tensor, Tensor]:
    """A point inside each region ``(R, *input_shape)``, and the class there ``(R,)``.

    It is the middle of the region's interval; one beyond the end that is finite; x, where none is.
    """
    decision = Decision.of(paths.network.output_shape)
    rows, segment = paths.region_rows, paths.table.segments(paths.table.numbers())
    weight = torch.ones_like(paths.position) if paths.weight is None else paths.weight
    # In homogeneous coordinates the sum of two points lies between them, also where one is at infinity.
    weight, position = weight[rows] + weight[rows + 1], paths.position[rows] + paths.position[rows + 1]
    whole = (weight == 0)[:, None]
    outputs = torch.where(whole, paths.outputs_at_x[segment], paths.values[rows] + paths.values[rows + 1])
    t = torch.where(weight == 0, 0.0, position / weight)
    points = paths.x[segment] + t.view(-1, *[1] * (paths.x.ndim - 1)) * paths.d[segment]
    return points, decision.labels(outputs)


def region_at(graph: nx.Graph, segment: int, t: float) -> str:
    """The node that a segment is in at t; on a breakpoint the region after it.

    Args:
        graph: from ``region_graph``.
        segment: its number in the paths.
        t: within the segment's range: 0 for the point x itself, 1 for x + d.

    Raises:
        ValueError: t lies outside of the range.
    """
    path = graph.graph["paths"][segment]
    own = path.t
    if not own[0] <= t <= own[-1]:
        raise ValueError(f"t = {t} lies outside of the segment's range, {own[0].item()} to {own[-1].item()}.")
    number = int(torch.searchsorted(own[1:-1], torch.tensor(t, dtype=own.dtype, device=own.device), right=True))
    node: str = graph.graph["keys"][int(graph.graph["paths"].region_offsets[segment]) + number]
    return node


def shared_regions(graph: nx.Graph, first: Iterable[int], second: Iterable[int]) -> set[str]:
    """The regions that two bundles of segments both visit: the paper's interference between lines.

    Args:
        graph: from ``region_graph``.
        first, second: numbers of segments.
    """
    one, other = set(first), set(second)
    visits = graph.nodes(data="segments")
    return {node for node, segments in visits if not one.isdisjoint(segments) and not other.isdisjoint(segments)}


def class_components(graph: nx.Graph, label: int) -> list[set[str]]:
    """The connected parts of the regions of one class, the largest first."""
    own = graph.subgraph(node for node, other in graph.nodes(data="label") if other == label)
    return sorted(nx.connected_components(own), key=len, reverse=True)


def degree_counts(graph: nx.Graph) -> dict[int, int]:
    """How many regions have how many neighbours in the graph, by increasing degree."""
    return dict(sorted(Counter(degree for _, degree in graph.degree).items()))


def shortest_path(graph: nx.Graph, start: str, goal: str) -> list[str] | None:
    """The fewest regions that lead from one to another, both included; None where no visited regions connect them.

    Args:
        graph: from ``region_graph``.
        start, goal: nodes, for example from ``region_at``.
    """
    try:
        path: list[str] = nx.shortest_path(graph, start, goal)
    except nx.NetworkXNoPath:
        return None
    return path
