"""Comparing a network with the model that it was read from, at points, within what the model's rounding can explain.

The network is evaluated in float64 with a radius for every number: how far the same sums can be off in the model's own
dtype. Each affine step adds γ Σ|a||v| to the radius that it passes on (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd edition, 2002, section 3.1: whatever the order of a sum of n products, its error is at most
γ_n Σ|a||v| with γ_n = n u / (1 − n u)); a gate passes it on by its steepest slope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.network.gates import OrderStatistic, Selection, flattened
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.step_graph import StepGraph
from relu_regions.network.steps import AffineStep, GateStep

__all__ = ["Original", "unit_of"]

# Roundings of a number besides those of its sum: a batch norm or a folded constant takes several.
_MORE_ROUNDINGS = 16
# Running radii grow by some bits a layer where errors do not, so they are capped. The cap is no theorem: it was tried
# on networks of up to 100 layers in four dtypes, of which it refused none.
_LARGEST_SHARE = 256
# Rows that one comparison takes at most, and numbers of the largest value that they may take together.
_ROWS, _NUMBERS = 32, 1 << 24


class _Unit(NamedTuple):
    """How a dtype rounds.

    Attributes:
        result: unit roundoff of what an operation returns.
        product: of a product in a sum.
        least: what a product may lose where it is too small for the dtype.
    """

    result: float
    product: float
    least: float


def unit_of(dtype: torch.dtype, device: torch.device) -> _Unit:
    """How a model in this dtype rounds on this device; half precision is summed in float32.

    On CUDA devices, and where torch is told so on a CPU, float32 products may be rounded to fewer bits.
    """
    half = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
    least = torch.finfo(dtype).smallest_normal
    if dtype in half:
        return _Unit(half[dtype], half[dtype], 2.0**-24 if dtype == torch.float16 else least)
    unit = torch.finfo(dtype).eps / 2
    precision = torch.get_float32_matmul_precision()
    short = precision != "highest" or (device.type == "cuda" and torch.backends.cudnn.allow_tf32)
    if dtype == torch.float32 and short:
        return _Unit(unit, 2.0**-8 if precision == "medium" else 2.0**-11, least)
    return _Unit(unit, 0.0, least)


@dataclass(frozen=True)
class Original:
    """A model as it was given, beside the network that was read from it.

    Attributes:
        network: as read, in float64.
        forward: from rows in the model's dtype, on its device, to the chosen output.
        dtype, device: of the model.
        narrowest: the dtype with the fewest bits that it computes in.
        last: what the model does after the network, if its logits were asked for: softmax and its like.
    """

    network: StepGraph
    forward: Callable[[Tensor], Tensor]
    dtype: torch.dtype
    device: torch.device
    narrowest: torch.dtype
    last: Callable[[Tensor], Tensor] | None = None

    @property
    def most_rows(self) -> int:
        """How many points one comparison takes at most."""
        widest = max(map(_workspace, self.network.steps), default=1)
        return max(4, min(_ROWS, _NUMBERS // max(1, widest)))

    def check(self, points: Tensor, alone: bool = False) -> None:
        """Compare network and model.

        Args:
            points: ``(N, *input_shape)``; those that are not finite in the model's dtype are left out.
            alone: whether each point goes through the model alone, as a batch of one, too.

        Raises:
            UnsupportedOperation: they differ by more than rounding explains; the text names the point and both values.
        """
        points = points.to(self.device, self.dtype)
        points = points[torch.isfinite(points.flatten(1)).all(1)]
        if not len(points):
            return
        self.compare(points, self.forward(points.clone()))
        for row in points if alone else ():
            self.compare(row[None], self.forward(row[None].clone()))

    def compare(self, points: Tensor, theirs: Tensor) -> None:
        """Compare the network with what the model answered at points in its own dtype; errors as ``check``."""
        network = self.network.to(torch.float64, points.device)
        with torch.no_grad():
            value, allowed = _with_radius(network, points.double(), unit_of(self.narrowest, self.device))
        if self.last is not None:
            unit = torch.finfo(self.narrowest).eps
            value, spread = self.last(value), allowed.flatten(1).amax(1).view(-1, *[1] * (allowed.ndim - 1))
            allowed = 2 * spread + _MORE_ROUNDINGS * unit * (1 + value.abs())
        theirs = theirs[:, None] if theirs.ndim == 1 else theirs  # one number for each point is one logit
        if theirs.shape != value.shape:
            raise UnsupportedOperation(
                f"The model answers {len(points)} points of shape {tuple(points.shape[1:])} with a tensor of shape "
                f"{tuple(theirs.shape)}, and the network as read with {tuple(value.shape)}; relu_regions cannot walk "
                "it."
            )
        theirs = theirs.to(value)
        # Beyond the dtype's range a model's answer says nothing.
        known = torch.isfinite(theirs) & torch.isfinite(allowed) & torch.isfinite(value)
        wrong = (known & ((theirs - value).abs() > allowed)).nonzero()
        if len(wrong):
            place = tuple(wrong[0].tolist())
            raise UnsupportedOperation(
                f"The model differs from the network as read: at the point {_shown(points[place[0]])} its output "
                f"{place[1:] or 0} is {theirs[place]:.9g} and the network's is {value[place]:.9g}, where "
                f"{self.narrowest} explains a difference of {allowed[place]:.3g}. Its forward pass may depend on the "
                "batch, on global state, on chance, or on numbers that torch.export does not see; relu_regions cannot "
                "walk it."
            )


def _shown(point: Tensor) -> str:
    numbers = [f"{number:.6g}" for number in point.flatten()[:4].tolist()]
    return f"[{', '.join(numbers)}{', …' if point.numel() > 4 else ''}]"


def _workspace(step: AffineStep | GateStep) -> int:
    """Numbers for each point that a step takes at its peak, when it is only evaluated."""
    if isinstance(step, AffineStep):
        return step.workspace
    gate = step.gate
    if isinstance(gate, OrderStatistic):
        return max(step.units, gate.different_windows[0].numel())
    return gate.windows.numel() if isinstance(gate, Selection) else step.units


def _with_radius(network: StepGraph, x: Tensor, unit: _Unit) -> tuple[Tensor, Tensor]:
    """The network at points in float64, and how far a model may be from it: both ``(N, *output_shape)``.

    The radius is infinite where a number on the way may be beyond the dtype's range.
    """
    values = {network.input_name: (x, torch.zeros_like(x))}
    largest = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for step, last_use in zip(network.steps, network.releases):
        given = [values[name] for name in step.inputs]
        made = _affine(step, given, unit) if isinstance(step, AffineStep) else _gate(step, given[0], unit)
        values[step.output] = made[:2]
        largest = torch.maximum(largest, flattened(made[2]).amax(1) if made[2].numel() else largest)
        for name in last_use:
            del values[name]
    value, radius = values[network.output_name]
    share = _LARGEST_SHARE * (unit.result + unit.product) * largest
    return value, torch.minimum(radius, share.view(-1, *[1] * (value.ndim - 1)))


def _affine(step: AffineStep, given: list[tuple[Tensor, Tensor]], unit: _Unit) -> tuple[Tensor, Tensor, Tensor]:
    """Value, radius, and the sum of absolute products."""
    value = step(*(v for v, _ in given))
    sums = step.magnitude(*(v.abs() + e for v, e in given))
    if step.bias is not None:
        sums = sums + step.bias.abs()
    ordinary = min(unit.result, torch.finfo(torch.float32).eps / 2)
    count = (step.terms + _MORE_ROUNDINGS) * ordinary
    share = (count / (1 - count) if count < 1 else torch.inf) + _MORE_ROUNDINGS * unit.result + 2 * unit.product
    radius = step.magnitude(*(e for _, e in given)) + share * sums + (step.terms + _MORE_ROUNDINGS) * unit.least
    if step.places:
        # A place that is off lets in some of its neighbour, however small the number there is.
        largest = given[0][0].abs().amax(tuple(range(1, given[0][0].ndim)), keepdim=True)
        radius = radius + _MORE_ROUNDINGS * step.places * ordinary * largest.view(-1, *[1] * len(step.shape))
    return value, radius, sums


def _gate(step: GateStep, given: tuple[Tensor, Tensor], unit: _Unit) -> tuple[Tensor, Tensor, Tensor]:
    gate, (value, radius) = step.gate, given
    shape = (len(value), *step.shape)
    made = gate.apply(flattened(value)).view(shape)
    if isinstance(gate, OrderStatistic):
        windows, window = gate.different_windows
        passed = flattened(radius)[:, windows].amax(-1)[:, window]
    elif isinstance(gate, Selection):
        passed = gate.candidates(flattened(radius)).amax(-1)
    else:
        passed = gate.sizes.slope * flattened(radius) + _MORE_ROUNDINGS * unit.result * (
            flattened(made).abs() + gate.sizes.offset
        )
    return made, passed.view(shape) + unit.least, made.abs()
