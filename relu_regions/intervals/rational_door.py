"""The same questions in exact rational arithmetic, and certificates: what people reach as ``relu_regions.rational``."""

from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.interval import RationalInterval, exact_interval
from relu_regions.exactness.rational.paths import RationalPath, RationalRegion
from relu_regions.exactness.rational.planes.plane import (
    RationalBoundary,
    RationalCell,
    RationalEdge,
    RationalFace,
    RationalPlane,
)
from relu_regions.exactness.rational.planes.walk_plane import walk_plane
from relu_regions.exactness.rational.stretch import Flip
from relu_regions.exactness.rational.walk import walk
from relu_regions.intervals.certificates.certificate import Bend, Certificate, CertificateError, Endpoint
from relu_regions.intervals.certificates.certify import certify
from relu_regions.intervals.certificates.check import check

__all__ = [
    "Bend",
    "Certificate",
    "CertificateError",
    "Endpoint",
    "ExactNetwork",
    "Flip",
    "RationalBoundary",
    "RationalCell",
    "RationalEdge",
    "RationalFace",
    "RationalInterval",
    "RationalPath",
    "RationalPlane",
    "RationalRegion",
    "certify",
    "check",
    "exact_interval",
    "walk",
    "walk_plane",
]
