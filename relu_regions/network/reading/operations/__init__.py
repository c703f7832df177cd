"""What every ATen operation is to the reader: affine, a gate, or refused. A file for each family."""

from relu_regions.network.reading.operations import activations, arithmetic, batch_norm, maximum, rearrangement, weights
from relu_regions.network.reading.operations.constants import PURE
from relu_regions.network.reading.operations.refused import REFUSED
from relu_regions.network.reading.operations.registry import (
    BATCH,
    FROM_BATCH,
    OPERATIONS,
    Batch,
    Call,
    FromBatch,
    UnsupportedOperation,
    Value,
    supported_operations,
)

# Importing a family registers its operations.
_FAMILIES = (weights, arithmetic, batch_norm, rearrangement, activations, maximum)

__all__ = [
    "BATCH",
    "FROM_BATCH",
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
