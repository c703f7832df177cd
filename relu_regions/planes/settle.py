"""Settling in rational arithmetic the planes that floats leave in doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.planes.walk_plane import walk_plane
from relu_regions.exactness.resolving import POINTS_TO_BEGIN, Heard, Resolve, may_settle, products, without_limit
from relu_regions.lines.plane_batch import PlaneBatch
from relu_regions.network.network import Network
from relu_regions.planes.doubts import FACE_PRODUCTS, Budget
from relu_regions.planes.tiles import PlaneFaces

__all__ = ["budget_for", "settled", "worth_settling"]

# An exact walk handles some 10^8 products a second, so "auto" spends at most about ten seconds on a plane.
_AFFORDABLE_PRODUCTS = 10**9


def budget_for(resolve: Resolve, seconds: float) -> Budget | None:
    """What rational arithmetic may cost; None if it is not asked for.

    Args:
        seconds: that all planes of a call may take.
    """
    if not may_settle(resolve):
        return None
    return Budget(_AFFORDABLE_PRODUCTS if resolve == "auto" else math.inf, seconds)


def worth_settling(faces: Sequence[int], resolve: Resolve, network: Network) -> list[bool]:
    """Whether to take planes in doubt to rational arithmetic.

    Args:
        faces: about how many each of them has.
    """
    if resolve != "auto":
        return [True] * len(faces)
    each = products(network)
    return [
        POINTS_TO_BEGIN * each + count * (3 * each + FACE_PRODUCTS) <= _AFFORDABLE_PRODUCTS for count in faces
    ]  # three forms for each face


def settled(planes: PlaneBatch, numbers: Sequence[int], heard: Heard = without_limit) -> Iterator[PlaneFaces]:
    """Some planes of a batch in rational arithmetic, one after another, as long as time is left when one begins.

    Args:
        planes: in float64, on the processor.
        numbers: which.
    """
    network = ExactNetwork(planes.network) if numbers else None
    for done, number in enumerate(numbers):
        if network is None or not heard(done):
            return
        one = slice(number, number + 1)
        (plane,) = walk_plane(network, planes.x[one], planes.u[one], planes.v[one], [planes.polygons[number]])
        yield PlaneFaces.of_rational(plane, planes.network)
