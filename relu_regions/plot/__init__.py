"""Pictures. Each function draws into ``ax``, or a new one, and returns it; nothing is shown or saved.

It may import whatever finds answers: ``intervals`` and below. matplotlib is imported when a picture is drawn, not
before.
"""

from relu_regions.plot.along import change_along_path, logits_along_path, norms_along_path
from relu_regions.plot.distributions import interval_density, norm_ratios
from relu_regions.plot.plane_html import plane_html
from relu_regions.plot.planes import plane
from relu_regions.plot.regions import attribution_image, graph_of_regions

__all__ = [
    "attribution_image",
    "change_along_path",
    "graph_of_regions",
    "interval_density",
    "logits_along_path",
    "norm_ratios",
    "norms_along_path",
    "plane",
    "plane_html",
]
