"""Planes as arrays, against the exact planes that they are made of, and against walks of lines."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, permutations
from random import Random

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

import relu_regions as rr
from relu_regions import rational
from relu_regions.lines.plane_batch import PlaneBatch
from relu_regions.planes.planes import Planes
from relu_regions.regions.norms import norms_at
from tests.models import STEPS_WITH_FACES, Architecture, mlp, of_each
from tests.networks import network_of
from tests.planes.exact_planes import SQUARE, exact_planes, of_mlp
from tests.strategies import FLAVOURS, GATES, make_case

Answer = tuple[nn.Module, Planes, list[rational.RationalPlane]]


@pytest.fixture(scope="module")
def found() -> Answer:
    return of_mlp(3, 4, 7, 6, 3, polygon=SQUARE)


def floats(numbers: object) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)


def points_inside(planes: Planes) -> torch.Tensor:
    """A point of the input space for each face."""
    of_face, (s, t) = planes.plane_of_face, planes.centroids.T[:, :, None]
    return planes.x[of_face] + s * planes.u[of_face] + t * planes.v[of_face]


# ---------------------------------------------------------------- faces, vertices, edges


def test_faces_are_those_of_the_exact_planes(found: Answer) -> None:
    _, planes, exact = found
    assert planes.face_counts.tolist() == [len(plane) for plane in exact]
    assert planes.plane_of_face.tolist() == [number for number, plane in enumerate(exact) for _ in plane.faces]
    faces = [face for plane in exact for face in plane.faces]
    assert len(planes.face_offsets) == len(faces) + 1
    for number, face in enumerate(faces):
        corners = planes.face_vertices[planes.face_offsets[number] : planes.face_offsets[number + 1]]
        assert planes.vertices[corners].tolist() == floats(face.corners).tolist()
    assert planes.areas.numpy() == pytest.approx(floats([face.area for face in faces]), abs=1e-15)
    patterns = planes.patterns()
    assert [[tuple(part[row].tolist()) for part in patterns] for row in range(len(faces))] == [
        list(face.pattern) for face in faces
    ]
    some = torch.tensor([5, 2, 2])
    assert all(torch.equal(part, whole[some]) for part, whole in zip(planes.patterns(some), patterns))


def test_outputs_at_vertices_are_the_models(found: Answer) -> None:
    model, planes, exact = found
    assert planes.outputs.numpy() == pytest.approx(floats([row for plane in exact for row in plane.outputs]), abs=1e-13)
    vertex = 0
    for plane, whole in zip(planes, exact):
        points = plane.x + plane.vertices[:, :1] * plane.u + plane.vertices[:, 1:] * plane.v
        assert torch.allclose(planes.outputs[vertex : vertex + len(whole.vertices)], model(points), atol=1e-12)
        vertex += len(whole.vertices)


def test_edges_have_the_flips_of_the_exact_planes(found: Answer) -> None:
    _, planes, exact = found
    edges, flips = planes.edges, planes.edges.flips
    got = {frozenset(ends): set() for ends in edges.vertices.tolist()}
    for row, gate, unit, before, after in zip(*(getattr(flips, name).tolist() for name in vars(flips))):
        got[frozenset(edges.vertices[row].tolist())].add((gate, unit, frozenset((before, after))))
    wanted, shift = {}, 0
    for plane in exact:
        for edge in plane.edges:
            ends = frozenset(number + shift for number in edge.vertices)
            wanted[ends] = {(f.gate, f.unit, frozenset((f.before, f.after))) for f in edge.flips}
        shift += len(plane.vertices)
    assert got == wanted
    # From the first face to the second.
    patterns = planes.patterns()
    for row, gate, unit, before, after in zip(*(getattr(flips, name).tolist() for name in vars(flips))):
        first, second = edges.faces[row].tolist()
        assert (int(patterns[gate][first, unit]), int(patterns[gate][second, unit])) == (before, after)
    assert (edges.plane == planes.plane_of_face[edges.faces[:, 0]]).all()


@pytest.mark.parametrize("activation", [nn.Hardtanh, nn.ReLU6, nn.LeakyReLU])
def test_flips_of_gates_with_more_pieces(activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = mlp(2, 9, 5, 2, activation=activation).double().eval()
    for parameter in model.parameters():
        parameter.data *= 3
    x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
    planes, (exact,) = exact_planes(model, x, u, v)
    flips = planes.edges.flips
    wanted = sorted((f.gate, f.unit, *sorted((f.before, f.after))) for edge in exact.edges for f in edge.flips)
    got = zip(flips.gate.tolist(), flips.unit.tolist(), flips.before.tolist(), flips.after.tolist())
    assert sorted((g, u, *sorted((b, a))) for g, u, b, a in got) == wanted


def test_maps_and_norms_are_those_of_the_regions(found: Answer) -> None:
    model, planes, _ = found
    inside = points_inside(planes)
    weight, bias = planes.affine_maps()
    assert torch.allclose(torch.einsum("foi,fi->fo", weight, inside) + bias, model(inside), atol=1e-12)
    for p in (1, 2, math.inf, "fro"):
        assert torch.allclose(planes.norms(p), norms_at(model, inside, p), rtol=1e-12)
    some = torch.tensor([3, 0, 3])
    assert torch.equal(planes.affine_maps(some)[0], weight[some])
    assert torch.allclose(planes.norms(2, some), planes.norms(2)[some], rtol=1e-13)
    with pytest.raises(ValueError, match="p must be"):
        planes.norms(3)


def test_areas_in_the_input_space(found: Answer) -> None:
    _, planes, _ = found
    for number, plane in enumerate(planes):
        edges = torch.stack([plane.u[0], plane.v[0]])
        scale = torch.linalg.det(edges @ edges.T).sqrt()
        mine = planes.plane_of_face == number
        assert torch.allclose(planes.input_areas[mine], planes.areas[mine] * scale, rtol=1e-12)


# ---------------------------------------------------------------- classes


def test_cells_and_classes(found: Answer) -> None:
    _, planes, exact = found
    cells = planes.cells
    first = np.cumsum([0, *(len(plane) for plane in exact)])
    wanted = [(cell.face + start, cell.label) for plane, start in zip(exact, first) for cell in plane.cells]
    assert list(zip(cells.face.tolist(), cells.label.tolist())) == wanted
    assert len(cells) == len(wanted) and torch.equal(cells.plane, planes.plane_of_face[cells.face])
    areas = floats([cell.area for plane in exact for cell in plane.cells])
    assert cells.areas.numpy() == pytest.approx(areas, abs=1e-15)
    assert planes.class_areas().numpy() == pytest.approx(floats([plane.class_areas() for plane in exact]), abs=1e-14)


def test_components_are_those_of_the_exact_planes(found: Answer) -> None:
    _, planes, exact = found
    pieces = planes.components()
    got = list(zip(pieces.plane.tolist(), pieces.label.tolist()))
    each = [plane.components() for plane in exact]
    assert got == [(n, label) for n, plane in enumerate(each) for label, areas in enumerate(plane) for _ in areas]
    assert pieces.counts.tolist() == [[len(areas) for areas in plane] for plane in each]
    areas = floats([area for plane in each for label in plane for area in label])
    assert pieces.areas.numpy() == pytest.approx(areas, abs=1e-14)
    whole = torch.zeros_like(pieces.areas).index_add(0, pieces.of_cell, planes.cells.areas)
    assert torch.allclose(whole, pieces.areas, atol=1e-15)
    assert torch.equal(pieces.label[pieces.of_cell], planes.cells.label)


def assert_boundaries(planes: Planes, exact: list[rational.RationalPlane]) -> None:
    """Polylines are made of the sides between classes, each once, with the smaller class to the left."""
    for stretches, plane in zip(planes.boundaries(), exact):
        sides = set()
        for stretch in stretches:
            points = [tuple(point) for point in stretch.points.tolist()]
            new = {(a, b, *stretch.labels) for a, b in pairwise(points)}
            assert not sides & new
            sides |= new
        wanted = set()
        for side in plane.boundaries:
            a, b = (tuple(float(number) for number in end) for end in side.ends)
            left, right = side.labels
            wanted.add((a, b, left, right) if left < right else (b, a, right, left))
        assert sides == wanted


def test_boundaries_are_those_of_the_exact_planes_put_together(found: Answer) -> None:
    _, planes, exact = found
    assert any(len(stretch.points) > 2 for plane in planes.boundaries() for stretch in plane)
    assert_boundaries(planes, exact)


def test_a_boundary_around_a_class_is_closed() -> None:
    # Class 1 wins where |s| + |t| < 1/2.
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[0.0] * 4, [-1] * 4]))
        model[2].bias.copy_(torch.tensor([0, 0.5]))
    x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
    planes, _ = exact_planes(model, x, u, v)
    ((ring,),) = planes.boundaries()
    assert ring.labels == (0, 1) and len(ring.points) == 5 and torch.equal(ring.points[0], ring.points[-1])
    s, t = ring.points[:-1].T
    assert float((s * t.roll(-1) - t * s.roll(-1)).sum()) == -1  # class 0 is to the left: clockwise
    assert planes.class_areas().tolist() == [[3.5, 0.5]]
    pieces = planes.components()
    assert pieces.label.tolist() == [0, 1] and pieces.areas.tolist() == [3.5, 0.5]


def test_a_single_output_competes_with_0() -> None:
    _, planes, exact = of_mlp(2, 2, 5, 1, seed=3)
    assert planes.class_areas().numpy() == pytest.approx(floats([plane.class_areas() for plane in exact]), abs=1e-14)


def test_outputs_that_are_no_logits_have_faces_but_no_classes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Unflatten(1, (2, 3))).double().eval()
    x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
    planes, _ = exact_planes(model, x, u, v)
    assert planes.outputs.shape == (len(planes.vertices), 2, 3)
    assert planes.affine_maps()[0].shape == (len(planes.areas), 2, 3, 2)
    assert "label" not in planes.to_networkx().nodes[0] and "logit_5" in planes.to_dataframe()
    for ask in (lambda: planes.cells, planes.class_areas, planes.components, planes.boundaries):
        with pytest.raises(ValueError, match="a class needs a vector of logits"):
            ask()


def degenerate_plane(seed: int) -> tuple[Planes, rational.RationalPlane]:
    """A small network with whole-number or repeated weights, so that lines coincide and classes tie."""
    rng = Random(seed)
    flavour = rng.choice(["integers", "integers", "duplicates", *FLAVOURS])
    gates = rng.choices([name for name in GATES if name not in ("hardsigmoid", "order statistics")], k=2)
    case = make_case([2, 5, 4, 3], gates=gates, flavour=flavour, seed=seed, skips=rng.random() < 0.3)
    network = network_of(case.layers, 2)
    x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
    planes, (exact,) = exact_planes(network, x, u, v)
    return planes, exact


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_degenerate_planes_keep_their_sides_pieces_and_boundaries(start: int) -> None:
    for seed in range(start, start + 20):
        planes, exact = degenerate_plane(seed)
        planes.tiles.check(exact.polygon.area)
        planes.answers[0].cells.check(exact.polygon.area)
        assert_boundaries(planes, [exact])
        pieces = planes.components()
        each = [(label, float(area)) for label, areas in enumerate(exact.components()) for area in areas]
        assert pieces.label.tolist() == [label for label, _ in each]
        assert pieces.areas.tolist() == pytest.approx([area for _, area in each], abs=1e-14)
        assert len(planes.edges.flips.row) == sum(len(edge.flips) for edge in exact.edges)
        # Edge to edge, so that a walk across an edge changes what its flips say.
        assert (planes.edges.flips.row.unique() == (planes.edges.faces[:, 1] >= 0).nonzero()[:, 0]).all()


# ---------------------------------------------------------------- segments


@pytest.mark.parametrize("seed", range(4))
def test_a_segment_is_what_a_walk_along_it_finds(seed: int) -> None:
    model, planes, _ = of_mlp(1, 3, 9, 7, 4, seed=seed)
    generator = np.random.default_rng(seed)
    for _ in range(5):
        a, b = generator.uniform(-1, 1, (2, 2))
        segment = planes.segment(a, b)
        (path,) = rr.walk(model, segment.x, segment.d, (0, 1))
        assert segment.t.numpy() == pytest.approx(path.t.numpy(), abs=1e-11)
        assert torch.allclose(segment.outputs, path.outputs, atol=1e-11)
        assert all(torch.equal(a, b) for a, b in zip(planes.patterns(segment.faces), path.paths.patterns()))


def test_a_segment_does_not_cross_a_face_that_is_one_point_in_floats() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).double().eval()
    numbers = {
        "weight": torch.tensor([[4.0, 4.0], [1.0, 0.0]]),
        "bias": torch.tensor([-5e-324, -0.5], dtype=torch.float64),
    }
    model[0].load_state_dict(numbers)
    x, u, v = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    planes = rr.walk_plane(model, x, u, v)
    assert planes.face_counts.tolist() == [3] and planes.certain.tolist() == [True]
    segment = planes.segment((0.25, 0.25), (0.75, 0.125))
    assert segment.t.tolist() == [0, 0.5, 1]
    assert planes.patterns(segment.faces)[0].tolist() == [[1, 0], [1, 1]]


def test_a_segment_along_an_edge_crosses_one_of_two_faces() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.zero_()
    x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
    planes, _ = exact_planes(model, x, u, v)
    segment = planes.segment((-1, 0), (1, 0))
    assert segment.t.tolist() == [0, 0.5, 1] and len(segment.faces) == 2
    # Through the vertex of all four, and along the border.
    assert planes.segment((-1, -1), (1, 1)).t.tolist() == [0, 0.5, 1]
    assert planes.segment((-1, 1), (1, 1)).t.tolist() == [0, 0.5, 1]
    # What is outside does not count.
    assert planes.segment((-3, -0.5), (1, -0.5)).t.tolist() == [0.5, 0.75, 1]


@pytest.mark.parametrize("seed", [0, 3])
def test_segments_between_corners_are_crossed_from_end_to_end(seed: int) -> None:
    """Many go along sides, which floats place on either side of them."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU()).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.randint(-2, 3, (8, 2), generator=generator))
        model[0].bias.copy_(torch.randint(-3, 4, (8,), generator=generator).double() / 3)
    x, u, v = torch.tensor([[[0.0, 0]], [[1, 0]], [[0, 1]]], dtype=torch.float64)
    planes = rr.walk_plane(model, x, u, v, SQUARE)
    corners = sorted(set(map(tuple, planes.vertices.tolist())))
    for a, b in permutations(corners, 2):
        segment = planes.segment(a, b)
        assert (segment.t[0], segment.t[-1]) == pytest.approx((0, 1), abs=1e-9)
        assert torch.allclose(segment.outputs, model(segment.x + segment.t[:, None] * segment.d), atol=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((0, 0), (0, 0), "two different finite points"),
        ((0, 0), (0, math.nan), "two different finite points"),
        ((2, 2), (3, 2), "does not cross the plane's polygon"),
    ],
)
def test_segments_that_are_none_are_refused(found: Answer, a: tuple, b: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found[1][0].segment(a, b)
    with pytest.raises(ValueError, match="These are 3 planes"):
        found[1].segment((0, 0), (1, 1))


# ---------------------------------------------------------------- of convolutions, maxima and residual connections

MIXED = [step for step in STEPS_WITH_FACES if step.name in ("residual block", "max pooling before relu, overlapping")]


@of_each(MIXED)
def test_labels_outputs_and_jacobians_at_every_face(architecture: Architecture) -> None:
    model = architecture.model()
    x, u, v = torch.randn(3, 2, *architecture.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    planes = rr.walk_plane(model, x, u, v, [(0, 0), (0.3, 0), (0, 0.3)])
    assert planes.certain.all() and len(planes.areas) > 20
    of_face, centroids = planes.plane_of_face, planes.centroids
    s, t = (part.view(-1, *[1] * len(architecture.shape)) for part in centroids.T)
    inside = (planes.x[of_face] + s * planes.u[of_face] + t * planes.v[of_face]).requires_grad_()
    outputs = model(inside).flatten(1)
    weight, bias = planes.affine_maps()
    weight = weight.reshape(len(inside), outputs.shape[1], -1)
    mapped = torch.einsum("foi,fi->fo", weight, inside.detach().flatten(1)) + bias.flatten(1)
    assert torch.allclose(mapped, outputs, atol=1e-10)
    for number in range(outputs.shape[1]):
        (gradient,) = torch.autograd.grad(outputs[:, number].sum(), inside, retain_graph=True)
        assert torch.allclose(gradient.flatten(1), weight[:, number], atol=1e-11)
    logits = planes.to_dataframe()[[f"logit_{k}" for k in range(outputs.shape[1])]].to_numpy()
    assert logits == pytest.approx(outputs.detach().numpy(), abs=1e-10)
    if len(planes.network.output_shape) == 1:
        nodes = planes.to_networkx().nodes
        assert [nodes[face]["label"] for face in range(len(inside))] == outputs.argmax(1).tolist()
    segment = planes[1].segment((0.01, 0.02), (0.15, 0.1))
    (path,) = rr.walk(model, segment.x, segment.d, (0, 1))
    assert segment.t.numpy() == pytest.approx(path.t.numpy(), abs=1e-10)


# ---------------------------------------------------------------- other forms


def test_the_graph_of_faces(found: Answer) -> None:
    model, planes, _ = found
    graph = planes.to_networkx()
    assert len(graph) == len(planes.areas) and nx.number_connected_components(graph) == len(planes)
    assert graph.number_of_edges() == int((planes.edges.faces[:, 1] >= 0).sum())
    patterns = planes.patterns()
    for one, other, units in graph.edges(data="units"):
        changed = [(part[one] != part[other]).nonzero()[:, 0].tolist() for part in patterns]
        assert units == {(gate, unit) for gate, rows in enumerate(changed) for unit in rows}
    for face, label in enumerate(model(points_inside(planes)).argmax(1).tolist()):
        node = graph.nodes[face]
        assert (node["label"], node["area"]) == (label, float(planes.areas[face]))
        assert node["point"] == tuple(planes.centroids[face].tolist())


@pytest.mark.parametrize("by", ["face", "cell"])
def test_tables_and_polygons(found: Answer, by: str) -> None:
    _, planes, exact = found
    frame, shapes = planes.to_dataframe(by), planes.to_shapely(by)
    cells = [part for plane in exact for part in (plane.faces if by == "face" else plane.cells)]
    assert len(frame) == len(shapes) == len(cells)
    assert frame["area"].to_numpy() == pytest.approx(floats([cell.area for cell in cells]), abs=1e-15)
    assert [shape.area for shape in shapes] == pytest.approx(frame["area"].to_numpy(), abs=1e-14)
    assert frame["input_area"].sum() == pytest.approx(float(planes.input_areas.sum()))
    assert ("class" in frame) == (by == "cell") and {"plane", "face", "corners", "s", "t", "logit_2"} <= set(frame)
    if by == "cell":
        assert (frame["class"] == frame[[f"logit_{k}" for k in range(3)]].to_numpy().argmax(1)).all()
    with pytest.raises(ValueError, match="by must be one of"):
        planes.to_dataframe("region")


# ---------------------------------------------------------------- the whole


def test_planes_are_a_sequence(found: Answer) -> None:
    _, planes, exact = found
    assert len(planes) == 3 and [len(plane) for plane in planes] == [1, 1, 1]
    assert [int(plane.face_counts) for plane in planes] == [len(plane) for plane in exact]
    assert planes[1:].face_counts.tolist() == planes.face_counts.tolist()[1:]
    assert torch.equal(planes[-1].x, planes.x[2:]) and len(planes[5:]) == 0
    assert planes.certain.all() and planes.settled.all() and planes.decided_by == ["rational"] * 3
    assert repr(planes) == f"Planes(3 planes, {len(planes.areas)} faces; decided: 3 by rational)"
    assert repr(planes[0]).startswith("Planes(1 plane, ")
    for part in (planes.cells, planes.edges, planes.components(), planes[0].boundaries()[0][0]):
        assert len(repr(part)) < 100
    assert len(repr(planes[0].segment((0, 0), (1, 1)))) < 100
    with pytest.raises(IndexError, match="plane 3 of 3"):
        planes[3]
    with pytest.raises(TypeError, match="integer or a slice"):
        planes["0"]  # type: ignore[index]


def test_no_planes() -> None:
    model = mlp(2, 3, 2).double().eval()
    none = torch.zeros(0, 2, dtype=torch.float64)
    planes = Planes.of(PlaneBatch.of(model, none, none, none, SQUARE), [])
    assert len(planes) == len(planes.areas) == len(planes.edges) == len(planes.cells) == len(planes.components()) == 0
    assert planes.affine_maps()[0].shape == (0, 2, 2) and planes.patterns()[0].shape == (0, 3)
    assert (
        planes.outputs.shape == (0, 2)
        and planes.class_areas().shape == planes.components().counts.shape == (0, 2)
        and planes.norms(2).shape == (0,)
    )
    assert repr(planes) == "Planes(0 planes, 0 faces)" and len(planes.to_dataframe()) == 0


def test_a_polygon_of_fractions() -> None:
    third = Fraction(1, 3)
    _, planes, (exact,) = of_mlp(1, 2, 6, 2, polygon=[(0, 0), (third, 0), (0, third)])
    assert float(planes.areas.sum()) == pytest.approx(1 / 18, rel=1e-14)
    assert float(exact.polygon.area) == pytest.approx(1 / 18, rel=1e-15)
