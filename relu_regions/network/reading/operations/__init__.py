"""What every ATen operation is to the reader: affine, a gate, or refused. A file for each family."""

from relu_regions.network.reading.operations import (
    activations,
    arithmetic,
    batch_norm,
    maximum,
    norms,
    order_statistics,
    products,
    rearrangement,
    resampling,
    sums,
    weights,
)
from relu_regions.network.reading.operations.constants import PURE
from relu_regions.network.reading.operations.refused import REFUSED
from relu_regions.network.reading.operations.registry import (
    OPERATIONS,
    Call,
    UnsupportedOperation,
    supported_operations,
)
from relu_regions.network.reading.operations.values import BATCH, Batch, FromBatch, Value

# Importing a family registers its operations.
_FAMILIES = (
    weights, products, arithmetic, batch_norm, rearrangement, sums, resampling, activations, maximum,
    order_statistics, norms,
)  # fmt: skip

__all__ = [
    "BATCH",
    "OPERATIONS",
    "PURE",
    "REFUSED",
    "Batch",
    "Call",
    "FromBatch",
    "UnsupportedOperation",
    "Value",
    "supported_operations",
]
