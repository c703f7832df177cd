"""Bounds of what rounding has done to the affine forms of faces, number by number, and signs that need no bound."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from relu_regions.backends.plane_cuts import PlaneKernel
from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.step_norms import StepNorms
from relu_regions.network.arrays import Floats, Integers, Numbers
from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep
from relu_regions.network.taking import taken

__all__ = ["GATE", "FormBounds", "sizes"]


# Labels of a gate's lines begin at a multiple of this; those of the sides of a plane's polygon are smaller.
GATE = 1 << 44


class _NeverBelow(NamedTuple):
    """Which numbers of a value ReLUs have passed on, or are 0, and the labels of the lines on which each is 0, or 0."""

    numbers: Numbers
    labels: Integers

    @classmethod
    def none(cls, count: int) -> _NeverBelow:
        return cls(np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64))


class FormBounds:
    """Carries bounds of forms through the steps of a network.

    A form a + b s + c t has the bound e if ``|a - a*| + S |b - b*| + T |c - c*| <= e`` for the true a*, b* and c* and
    the largest absolute s and t, S and T, of the plane's polygon; then e bounds its error everywhere there.

    Sums: the computed Σ w v of n products, in any order, is within γ_n Σ |w||v| of the true one (Higham, Accuracy and
    Stability of Numerical Algorithms, 2nd edition, section 3.1). Twice the terms are taken, which covers the rounding
    of the bounds themselves.

    Args:
        network: with its batch norms folded, on the processor, in float64.
    """

    def __init__(self, network: Network) -> None:
        affine = [step for step in network.steps if isinstance(step, AffineStep)]
        self._norms = {step.output: StepNorms.of(network, step, torch.float64) for step in affine}
        self._absolute = {
            step.output: replace(
                step, constants=tuple(constant.abs() for constant in step.constants), bias=None, fused=None
            )
            for step in affine
        }
        self._of_bias = {
            step.output: self._norms[step.output].rounding * (torch.zeros(1) if step.bias is None else step.bias.abs())
            for step in affine
        }
        self._equal = EqualNumbers.of(network)
        self._never_below = self._passed_on(network)

    @classmethod
    def of(cls, network: Network) -> FormBounds:
        """The one that carries the bounds of a network, made once."""
        return network.derived((cls,), lambda: cls(network))

    def affine(
        self, step: AffineStep, inputs: list[tuple[Tensor, Tensor]], reach: Floats, kernel: PlaneKernel
    ) -> Tensor:
        """The bounds of an affine step's output, ``(F, *shape)``.

        Args:
            inputs: the forms of each value that it reads, ``(3 F, *shape)``, and their bounds, ``(F, *shape)``.
            reach: S and T of each face's plane, ``(F, 2)``.
        """
        norms, parts = self._norms[step.output], []
        for forms, error in inputs:
            numbers = math.prod(error.shape[1:])
            flat = forms.reshape(len(reach), 3, numbers).numpy(), error.reshape(len(reach), numbers).numpy()
            parts.append(torch.from_numpy(kernel.summands(*flat, reach, norms.rounding)).view(error.shape))
        made = self._absolute[step.output].linear(*parts)
        # What underflow takes away from each of the three numbers. Planes of infinite reach are in doubt in any case.
        least = norms.floor * (1 + float(reach.sum(1).max(initial=0.0, where=np.isfinite(reach).all(1))))
        return torch.add(made, self._of_bias[step.output] + least)

    def known(self, name: str, forms: Floats) -> Numbers:
        """What gates have decided of a value's numbers on each face, ``(F, numbers)`` int8; ``(0, 0)`` if nothing.

        0 for numbers that are 0, 1 for those that are above 0 inside of the face: a ReLU has passed them on as they
        are, or has made a 0 of them, and its sign is proven. -1 for all others.
        """
        if name not in self._never_below:
            return np.zeros((0, 0), dtype=np.int8)
        return np.where(self._never_below[name].numbers, (forms != 0).any(1), -1).astype(np.int8)

    def origins(self, name: str) -> Numbers:
        """For each number of a value the label of its line, on which it is 0, if a ReLU has passed it on; 0 if not.

        ``(numbers,)`` uint64, or ``(0,)`` if a ReLU has passed on none.
        """
        found = self._never_below.get(name)
        return np.zeros(0, dtype=np.uint64) if found is None else found.labels.astype(np.uint64)

    def copies(self, name: str) -> tuple[Integers, Integers] | None:
        """For each number of a value the first that is the same or its negative on every face, and 1 or -1.

        None if no two are. Both are ``(numbers,)`` int64.
        """
        if name not in self._equal.copies:
            return None
        sources = self._equal.copies[name].numpy()
        _, first, place = np.unique(np.abs(sources), return_index=True, return_inverse=True)
        if len(first) == len(sources):
            return None
        return first[place], np.where(sources == sources[first[place]], 1, -1)

    def passed_on(self, name: str, count: int) -> Numbers:
        """Which of a value's numbers ReLUs have passed on, or are 0, ``(count,)`` bool."""
        found = self._never_below.get(name)
        return np.zeros(count, dtype=bool) if found is None else found.numbers

    def _passed_on(self, network: Network) -> dict[str, _NeverBelow]:
        """The numbers that ReLUs have passed on or made 0, for values that have such."""
        found: dict[str, _NeverBelow] = {}
        for index, step in enumerate(network.steps):
            made = None
            if isinstance(step, AffineStep):
                if not step.is_matrix and step.terms == 1 and any(name in found for name in step.inputs):
                    made = _taken(step, network, found)
            elif isinstance(step.gate, Knots) and step.gate.is_relu:
                labels = (network.gate_numbers[index] + 1) * GATE + np.arange(step.units)
                made = _NeverBelow(np.ones(step.units, dtype=bool), labels)
            elif isinstance(step.gate, Maximum) and step.inputs[0] in found:
                numbers = found[step.inputs[0]].numbers[step.gate.windows.cpu().numpy()].all(1)
                made = _NeverBelow(numbers, np.zeros(step.units, dtype=np.int64))
            if made is not None and made.numbers.any():
                found[step.output] = made
        return found


def sizes(forms: Tensor, reach: Floats) -> Tensor:
    """``|a| + S |b| + T |c|`` of every form, ``(F, *shape)``, from ``(3 F, *shape)``."""
    rows = forms.reshape(len(reach), 3, math.prod(forms.shape[1:])).abs()
    weights = torch.from_numpy(np.concatenate([np.ones((len(reach), 1)), reach], axis=1))
    return torch.bmm(weights[:, None], rows).view(len(reach), *forms.shape[1:])


def _taken(step: AffineStep, network: Network, found: dict[str, _NeverBelow]) -> _NeverBelow | None:
    """The same of a step that only takes numbers of values; None for other steps."""
    taking = taken(step, [network.shapes[name] for name in step.inputs])
    if taking is None:
        return None
    place, sign = (part.numpy() for part in taking)
    sources = [found.get(name) or _NeverBelow.none(_count(network.shapes[name])) for name in step.inputs]
    # At the end, what a number that takes nothing is: 0.
    numbers = np.append(np.concatenate([source.numbers for source in sources]), True)[place] & (sign >= 0)
    labels = np.append(np.concatenate([source.labels for source in sources]), 0)[place]
    if step.bias is not None:
        numbers &= (step.bias.expand(1, *step.shape).reshape(-1) == 0).numpy()
    return _NeverBelow(numbers, np.where(numbers, labels, 0))


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
