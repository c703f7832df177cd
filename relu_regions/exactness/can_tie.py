"""Whether a network can make numbers that are equal by construction and no copies."""

from __future__ import annotations

from relu_regions.exactness.equal_on_lines import equal_everywhere
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, Convolution

__all__ = ["can_tie"]


def can_tie(network: Network) -> bool:
    """Whether tables of ties are worth making.

    Only equal patches under one kernel make such numbers, and equal rows of coefficients.
    """
    forms = (step.form for step in network.steps if isinstance(step, AffineStep))
    return any(isinstance(form, Convolution) for form in forms) or bool(equal_everywhere(network))
