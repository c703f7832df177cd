"""Exact breakpoints, regions and generalization intervals of piecewise-linear networks."""

from relu_regions.interval import Interval, exact_interval
from relu_regions.network import Network
from relu_regions.operations import UnsupportedOperation, supported_operations
from relu_regions.paths import Path, Paths, Region
from relu_regions.sampling import sampled_interval
from relu_regions.walker import walk

__all__ = [
    "Interval",
    "Network",
    "Path",
    "Paths",
    "Region",
    "UnsupportedOperation",
    "exact_interval",
    "sampled_interval",
    "supported_operations",
    "walk",
]
