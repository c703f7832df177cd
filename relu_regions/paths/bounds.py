"""How much a network's output can change: its layers' norms, what follows from them, and eq. 10 (paper, appendix A).

All norms here are the ∞-norm and its operator norm, the largest absolute row sum. The bounds are sound in real
arithmetic and computed in float64, not rounded outwards.
"""

from relu_regions.paths.change import SegmentChange, WeightChange, segment_change, weight_change
from relu_regions.regions.lipschitz_bounds import (
    factor_needed,
    guaranteed_radius,
    layer_norms,
    linear_network,
    linear_network_norm,
    logit_bounds,
    margins,
    product_bound,
    training_range,
)

__all__ = [
    "SegmentChange",
    "WeightChange",
    "factor_needed",
    "guaranteed_radius",
    "layer_norms",
    "linear_network",
    "linear_network_norm",
    "logit_bounds",
    "margins",
    "product_bound",
    "segment_change",
    "training_range",
    "weight_change",
]
