"""Chains: consecutive gates with knots, each read by one matrix alone, that a backend may take in one go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.network.arrays import Numbers
from relu_regions.network.gates import Knots, OrderStatistic
from relu_regions.network.steps import AffineStep, GateStep, Step

__all__ = ["Chain", "Link", "LinkNumbers", "chains_of", "products_of"]


class LinkNumbers(NamedTuple):
    """A link's numbers on a CPU.

    Attributes:
        knots, slopes, offsets: of each unit, ``(m, units)`` and ``(m + 1, units)``.
        bias: 0 where there is none, ``(outputs,)``.
        columns, matrix: ``(units, outputs)`` and ``(outputs, units)``.
    """

    knots: Numbers
    slopes: Numbers
    offsets: Numbers
    bias: Numbers
    columns: Numbers
    matrix: Numbers


@dataclass(frozen=True)
class Link:
    """A gate with knots and the matrix that is the only reader of its output.

    Attributes:
        number: of the gate among the network's gates.
        units: how many it has.
        norms: of the matrix, for error bounds: gain, bias, rounding and floor as in step_norms.StepNorms.
    """

    number: int
    units: int
    gate: Knots
    step: AffineStep
    norms: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    @cached_property
    def numbers(self) -> LinkNumbers:
        """The gate's and the matrix' numbers as arrays."""
        gate, columns, bias = self.gate, self.step.columns, self.step.bias
        knots, slopes, offsets = (
            n.expand(-1, self.units).contiguous().numpy() for n in (gate.knots, gate.slopes, gate.offsets)
        )
        whole = columns.new_zeros(columns.shape[1]) if bias is None else bias.expand(columns.shape[1]).contiguous()
        matrix = self.step.constants[0].contiguous().numpy()
        return LinkNumbers(knots, slopes, offsets, whole.numpy(), columns.numpy(), matrix)

    @cached_property
    def sizes(self) -> Tensor:
        """Norms, the gate's sizes, and half the distance of 1 from the next float: ``(9,)``, on the matrix's device."""
        matrix = self.step.constants[0]
        numbers = (*self.norms, *self.gate.sizes, torch.finfo(matrix.dtype).eps / 2)
        return torch.tensor(numbers, dtype=matrix.dtype, device=matrix.device)


@dataclass(frozen=True)
class Chain:
    """Links one after another, where only the value that they pass on is still needed.

    Attributes:
        start: index of the first gate's step; those of the following ones are 2 apart.
        name: the value that the first gate reads.
        ends: whether the last matrix is the network's last step.
    """

    start: int
    name: str
    links: tuple[Link, ...]
    ends: bool = False

    @property
    def units(self) -> tuple[int, ...]:
        """How many units each gate has."""
        return tuple(link.units for link in self.links)

    def after(self, step: int) -> Chain | None:
        """The rest of the chain from one of its gates, given by the step's index; None if no gate of it is there."""
        passed, between = divmod(step - self.start, 2)
        if between or not 0 <= passed < len(self.links):
            return None
        if not passed:
            return self
        return replace(self, start=step, name=self.links[passed - 1].step.output, links=self.links[passed:])

    def with_norms(self, norms: list[tuple[float, float, float, float]]) -> Chain:
        """The same chain with the norms of its matrices."""
        return replace(self, links=tuple(replace(link, norms=own) for link, own in zip(self.links, norms)))

    def first(self) -> Chain:
        """The first link alone."""
        return replace(self, links=self.links[:1], ends=self.ends and len(self.links) == 1)


def chains_of(steps: tuple[Step, ...], input_name: str, releases: list[tuple[str, ...]]) -> tuple[Chain, ...]:
    """The chains of a network, as long as they can be.

    Args:
        releases: for each step, the values that no later step needs.
    """
    live, alone = {input_name}, []
    number = 0
    found: list[Chain] = []
    for index, (step, following) in enumerate(pairwise(steps)):
        if isinstance(step, GateStep):
            if _is_link(step, following, live, releases[index], releases[index + 1]):
                link = Link(number, step.units, step.gate, following)  # type: ignore[arg-type]
                alone.append((index, step.inputs[0], link))
            number += 1
        live = (live | {step.output}) - set(releases[index])
    for index, name, link in alone:
        if found and index == found[-1].start + 2 * len(found[-1].links):
            found[-1] = Chain(found[-1].start, found[-1].name, (*found[-1].links, link))
        else:
            found.append(Chain(index, name, (link,)))
    return tuple(replace(chain, ends=chain.start + 2 * len(chain.links) == len(steps)) for chain in found)


def _is_link(
    step: GateStep, following: object, live: set[str], released: tuple[str, ...], released_next: tuple[str, ...]
) -> bool:
    return (
        live == {step.inputs[0]}
        and step.inputs[0] in released
        and isinstance(step.gate, Knots)
        and len(step.gate.knots) > 0
        and isinstance(following, AffineStep)
        and following.is_matrix
        and following.inputs == (step.output,)
        and step.output in released_next
    )


def products_of(steps: tuple[Step, ...], releases: list[tuple[str, ...]]) -> dict[int, AffineStep]:
    """The matrices and convolutions that are the only reader of a gate's output, by the gate's index; see chains_of."""
    found: dict[int, AffineStep] = {}
    for index, (step, following) in enumerate(pairwise(steps)):
        if not isinstance(step, GateStep) or not isinstance(following, AffineStep) or following.form is None:
            continue
        if isinstance(step.gate, OrderStatistic):
            continue  # their slopes go up and down, so that bounds of what columns add would grow with every bend
        if step.output in releases[index + 1] and len(following.inputs) == 1:
            found[index] = following
    return found
