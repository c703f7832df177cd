"""The same questions in exact rational arithmetic."""

from relu_regions.rational.certificate import Bend, Certificate, CertificateError, Endpoint
from relu_regions.rational.certify import certify
from relu_regions.rational.check import check
from relu_regions.rational.coefficients import ExactNetwork
from relu_regions.rational.interval import RationalInterval, exact_interval
from relu_regions.rational.paths import RationalPath, RationalRegion
from relu_regions.rational.stretch import Flip
from relu_regions.rational.walk import walk

__all__ = [
    "Bend",
    "Certificate",
    "CertificateError",
    "Endpoint",
    "ExactNetwork",
    "Flip",
    "RationalInterval",
    "RationalPath",
    "RationalRegion",
    "certify",
    "check",
    "exact_interval",
    "walk",
]
