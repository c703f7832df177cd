"""Norms of affine steps: what bounds the error that a step makes and passes on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from relu_regions.network.network import Network
from relu_regions.network.plan import gains
from relu_regions.network.steps import AffineStep

__all__ = ["StepNorms"]


@dataclass(frozen=True)
class StepNorms:
    """The numbers of an affine step that bound its errors.

    Attributes:
        gain: the largest Σ |a| of an output number.
        bias: the largest |b|.
        rounding: γ of the step's number of terms.
        floor: what underflow can add.
    """

    gain: float
    bias: float
    rounding: float
    floor: float

    @classmethod
    def of(cls, network: Network, step: AffineStep, dtype: torch.dtype) -> StepNorms:
        """The norms of a step of a network."""
        bias = 0.0 if step.bias is None else float(step.bias.abs().max())
        unit, terms = torch.finfo(dtype).eps / 2, 2 * (step.terms + 2)
        return cls(
            gains(network)[step.output], bias, terms * unit / (1 - terms * unit), terms * torch.finfo(dtype).tiny
        )
