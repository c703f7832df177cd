"""The exact walk of planes: every face of a network in a plane, with fractions for corners and areas."""

from __future__ import annotations

from math import prod

from torch import Tensor

from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.planes.plane import RationalFace, RationalPlane
from relu_regions.exactness.rational.planes.polygons import Polygon
from relu_regions.exactness.rational.planes.sheet import forms_on, on_plane
from relu_regions.exactness.rational.walk import ExactModel
from relu_regions.lines.line_batch import Array
from relu_regions.lines.plane_batch import PlaneBatch, PolygonLike

__all__ = ["walk_plane"]


def walk_plane(
    model: ExactModel, x: Array, u: Array, v: Array, polygon: PolygonLike = ((0, 0), (1, 0), (0, 1))
) -> list[RationalPlane]:
    """Every face of the network in the planes ``x + s u + t v``, in exact rational arithmetic.

    A face is a maximal part of the polygon, with positive area, on which every unit keeps its piece. Nothing is assumed
    of the position of the lines on which units bend: several may coincide, pass through one point or through a corner.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, a Network, or an ExactNetwork, which keeps its exact
            coefficients for the next call; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        u: directions, broadcastable to x; those of one plane are not parallel.
        v: likewise.
        polygon: the corners (s, t) of a convex polygon in order, either way round, ``(K, 2)``, or one for each plane,
            ``(N, K, 2)``; numbers, Fractions too. By default the triangle with the corners x, x + u and x + v.

    Returns:
        A plane for each x.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    plain = model.network if isinstance(model, ExactNetwork) else model
    planes = PlaneBatch.of(plain, x, u, v, polygon)
    network = model if isinstance(model, ExactNetwork) else ExactNetwork(planes.network)
    rows = zip(planes.x.cpu(), planes.u.cpu(), planes.v.cpu(), planes.polygons)
    return [_plane(network, x_row, u_row, v_row, Polygon.of(corners)) for x_row, u_row, v_row, corners in rows]


def _plane(network: ExactNetwork, x: Tensor, u: Tensor, v: Tensor, polygon: Polygon) -> RationalPlane:
    name, shape = network.network.output_name, network.network.output_shape
    size = prod(shape)
    faces: list[RationalFace] = []
    for sheet in on_plane(network, x, u, v, polygon).through(network):
        outputs = sheet.values[name]
        for place, (part, pattern) in enumerate(zip(sheet.polygons, sheet.patterns)):
            logits = tuple(forms_on(outputs, place, size))
            faces.append(RationalFace(len(faces), part, pattern, logits, outputs.exponent))
    return RationalPlane(x, u, v, polygon, tuple(faces), shape)
