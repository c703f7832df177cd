"""Exact breakpoints, regions and generalization intervals of piecewise-linear networks.

Every name is loaded when it is first asked for, so that importing the package costs nothing and the checker of
certificates loads no walk.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relu_regions import backends as backends
    from relu_regions import plot as plot
    from relu_regions.exactness.stages import UnprovenWarning as UnprovenWarning
    from relu_regions.intervals import rational_door as rational
    from relu_regions.intervals.interval import Interval as Interval
    from relu_regions.intervals.interval import exact_interval as exact_interval
    from relu_regions.intervals.sampling import sampled_interval as sampled_interval
    from relu_regions.lines import directions as directions
    from relu_regions.network.network import Network as Network
    from relu_regions.network.reading.limits import Limits as Limits
    from relu_regions.network.reading.operations.registry import UnsupportedOperation as UnsupportedOperation
    from relu_regions.network.reading.operations.registry import supported_operations as supported_operations
    from relu_regions.paths import bounds as bounds
    from relu_regions.paths.graph import region_graph as region_graph
    from relu_regions.paths.paths import Path as Path
    from relu_regions.paths.paths import Paths as Paths
    from relu_regions.paths.paths import Region as Region
    from relu_regions.planes.planes import Planes as Planes
    from relu_regions.planes.walk_plane import walk_plane as walk_plane
    from relu_regions.regions.affine_maps import affine_map as affine_map
    from relu_regions.regions.class_change import ClassChange as ClassChange
    from relu_regions.regions.polytope import Polytope as Polytope
    from relu_regions.walking.attribution import integrated_gradients as integrated_gradients
    from relu_regions.walking.walker import walk as walk

# The version's one place: pyproject.toml and `relu-regions --version` read it here.
__version__ = "0.1.0.dev0"

__all__ = [
    "ClassChange",
    "Interval",
    "Limits",
    "Network",
    "Path",
    "Paths",
    "Planes",
    "Polytope",
    "Region",
    "UnprovenWarning",
    "UnsupportedOperation",
    "affine_map",
    "exact_interval",
    "integrated_gradients",
    "rational",
    "region_graph",
    "sampled_interval",
    "supported_operations",
    "walk",
    "walk_plane",
]

# Where each name is, and each module that is a door of its own.
_NAMES = {
    "ClassChange": "regions.class_change",
    "Interval": "intervals.interval",
    "Limits": "network.reading.limits",
    "Network": "network.network",
    "Path": "paths.paths",
    "Paths": "paths.paths",
    "Planes": "planes.planes",
    "Polytope": "regions.polytope",
    "Region": "paths.paths",
    "UnprovenWarning": "exactness.stages",
    "UnsupportedOperation": "network.reading.operations.registry",
    "affine_map": "regions.affine_maps",
    "exact_interval": "intervals.interval",
    "integrated_gradients": "walking.attribution",
    "region_graph": "paths.graph",
    "sampled_interval": "intervals.sampling",
    "supported_operations": "network.reading.operations.registry",
    "walk": "walking.walker",
    "walk_plane": "planes.walk_plane",
}
_DOORS = {
    "backends": "backends",
    "bounds": "paths.bounds",
    "directions": "lines.directions",
    "plot": "plot",
    "rational": "intervals.rational_door",
}


def __getattr__(name: str) -> object:
    if name in _DOORS:
        found: object = import_module(f"{__name__}.{_DOORS[name]}")
    elif name in _NAMES:
        found = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_DOORS})
