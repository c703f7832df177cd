"""Multiples of one number, which are 0 at one point: once one of them bends there, all of them are put on 0.

A number that several gates read, each times a factor, as in a dense block whose batch norms shift nothing, crosses 0
once. Interpolated and multiplied again it would cross it a rounding away from there, at a breakpoint of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.backends import Placement
from relu_regions.backends.points import Points
from relu_regions.exactness.equal_by_construction import EqualNumbers, matches
from relu_regions.network.gates import Knots, flattened
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep

__all__ = ["Multiples"]


class Multiples:
    """Which values have multiples of the numbers that a gate reads, and are still needed behind it.

    Args:
        network: the one that is walked.
        live: for each gate, by the name of its output, the names of such values.
    """

    def __init__(self, network: Network, live: dict[str, list[str]]) -> None:
        self._equal, self._live = EqualNumbers.of(network), live
        self._sorted: dict[str, tuple[Tensor, Tensor]] = {}

    @classmethod
    def of(cls, network: Network) -> Multiples | None:
        """Those of a network, made once; None if there are none, which the names of its values say."""

        def made() -> Multiples | None:
            live = _live(network)
            return cls(network, live) if live else None

        return network.derived("multiples", made)

    def put_on_zero(self, step: GateStep, points: Points, placed: Placement) -> None:
        """Put the multiples of what crosses 0 on 0, at the rows where it does so.

        Args:
            points: with the gate's bends inserted; its values and their bounds are changed.
            placed: the gate's bends.
        """
        gate, found = step.gate, placed.crossings
        if step.output not in self._live or not isinstance(gate, Knots) or not len(found.row):
            return
        number = torch.minimum(found.before, found.after)
        column = found.unit if gate.knots.shape[1] > 1 else torch.zeros_like(found.unit)
        own = gate.knots[number, column] == 0
        roots = self._equal.roots(step.inputs[0]).to(found.unit.device)
        row, root = placed.crossing_row[own], roots[found.unit[own]]
        for name in self._live[step.output]:
            if name in points.values:
                self._put(points, name, row, root)

    def _put(self, points: Points, name: str, row: Tensor, root: Tensor) -> None:
        each, place = matches(*self._roots(name, row.device), root)
        if not len(each):
            return
        value, row = points.values[name], row[each]
        numbers = flattened(value)
        lost = numbers[row, place].abs()
        numbers[row, place] = 0.0
        points.values[name] = numbers.view(value.shape)
        if name in points.errors:
            # The curve goes through 0 instead of through what was computed.
            error = points.errors[name]
            more = torch.zeros_like(error).scatter_reduce(0, row, lost, "amax")
            points.errors[name] = torch.where(more == 0, error, (error + more) * (1 + 2.0**-20))

    def _roots(self, name: str, device: torch.device) -> tuple[Tensor, Tensor]:
        """Those of a value in order, and the numbers that have them."""
        if name not in self._sorted:
            roots, order = self._equal.roots(name).to(device).sort(stable=True)
            self._sorted[name] = roots, order
        return self._sorted[name]


def _live(network: Network) -> dict[str, list[str]]:
    """For each gate the values behind it that may have multiples of what it reads."""
    bases: dict[str, set[str]] = {network.input_name: {network.input_name}}
    live, result = [network.input_name], {}
    for step, released in zip(network.steps, network.releases):
        moves = isinstance(step, AffineStep) and not step.is_matrix and step.terms == 1
        bases[step.output] = set().union(*(bases[name] for name in step.inputs)) if moves else {step.output}
        live = [name for name in live if name not in released]
        if isinstance(step, GateStep) and isinstance(step.gate, Knots):
            read = bases[step.inputs[0]]
            found = [name for name in live if bases[name] & read]
            if found:
                result[step.output] = found
        live.append(step.output)
    return result
