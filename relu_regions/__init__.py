"""Exact breakpoints, regions and generalization intervals of piecewise-linear networks."""

from relu_regions import rational
from relu_regions.attribution import integrated_gradients
from relu_regions.graph import region_graph
from relu_regions.interval import Interval, exact_interval
from relu_regions.limits import Limits
from relu_regions.maps import affine_map
from relu_regions.network import Network
from relu_regions.operations import UnsupportedOperation, supported_operations
from relu_regions.paths import Path, Paths, Region
from relu_regions.polytope import Polytope
from relu_regions.sampling import sampled_interval
from relu_regions.walker import walk

__all__ = [
    "Interval",
    "Limits",
    "Network",
    "Path",
    "Paths",
    "Polytope",
    "Region",
    "UnsupportedOperation",
    "affine_map",
    "exact_interval",
    "integrated_gradients",
    "rational",
    "region_graph",
    "sampled_interval",
    "supported_operations",
    "walk",
]
