"""Fused maxima: a maximum and the increasing activation before it, or behind it, are one gate.

An increasing function g commutes with a maximum exactly, in floats too: ``max(g(a), g(b)) = g(max(a, b))``. So the
maximum can be taken of the pre-activations, and g of its outputs, which are fewer. Where g is constant below its first
knot κ, as ReLU is, ``g(z) = g(max(z, κ))``: the constant κ competes with the pre-activations, and what is left of g has
no flat piece. The maximum then has a piece 0, the *floor*, which no input wins, and every change of its winner bends
the next value.

Where g is constant above its last knot κ', as ReLU6 and hardtanh are, ``g(z) = h(min(z, κ'))``, and what is left, h,
goes the same way. Its cap ``min(z, κ')`` stays a gate of its own on the same side of the maximum. A cap that competed
would win where *some* input is above it, which is no convex region; and behind a maximum that used to read capped
numbers it would hide changes of the winner that nobody had.

A function that is flat anywhere else would hide changes of the winner too; it stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial, reduce
from math import prod
from operator import or_
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor

from relu_regions.network.gates import Gate, Knots, Maximum, flattened
from relu_regions.network.steps import AffineStep, GateStep, Step
from relu_regions.network.taking import taken

__all__ = ["fused_steps"]

Replaced = dict[int, list[Step]]

_MOST_REARRANGED = 100  # one behind the other, between an activation and a maximum


def fused_steps(
    steps: tuple[Step, ...], releases: list[tuple[str, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Step, ...]:
    """The steps with each maximum and the increasing activation before it, or behind it, made one gate.

    Args:
        releases: for each step, the values that no later step needs.
        shapes: of all values.
    """
    finder, replaced = _Finder(steps, releases, shapes), Replaced()
    for index, step in enumerate(steps):
        if isinstance(step, GateStep) and isinstance(step.gate, Maximum):
            new = finder.before(index, step, step.gate) or finder.behind(index, step, step.gate)
            # An activation between two maxima goes with the first of them.
            if new is not None and not new.keys() & replaced.keys():
                replaced |= new
    return tuple(new for index, step in enumerate(steps) for new in replaced.get(index, [step]))


class _Source(NamedTuple):
    """A value that is an activation of another one.

    Attributes:
        name: of that other value.
        function: of each number, a column of knots for each.
        replaced: what becomes of the steps between the two.
    """

    name: str
    function: Knots
    replaced: Replaced


@dataclass(frozen=True)
class _Finder:
    """Finds activations that can be fused with a maximum, and says what becomes of the steps, by their indices."""

    steps: tuple[Step, ...]
    releases: list[tuple[str, ...]]
    shapes: Mapping[str, tuple[int, ...]]

    def before(self, index: int, step: GateStep, gate: Maximum) -> Replaced | None:
        """Where the maximum reads activations alone."""
        source = self._source(step.inputs[0], index)
        if source is None:
            return None
        columns = [part[:, gate.windows.cpu()] for part in source.function.parts]
        if any((part != part[..., :1]).any() for part in columns):
            return None
        function = Knots(*(part[..., 0] for part in columns))
        made = self._one_gate(step, gate, source.name, function, step.output)
        return None if made is None else source.replaced | {index: made}

    def behind(self, index: int, step: GateStep, gate: Maximum) -> Replaced | None:
        """Where an activation with a floor alone reads the maximum."""
        reader = self._only_reader(step.output)
        behind = None if reader is None else self.steps[reader]
        if reader is None or not isinstance(behind, GateStep):
            return None
        if not _increases(behind.gate) or not _has_floor(behind.gate):
            return None
        made = self._one_gate(step, gate, step.inputs[0], behind.gate, behind.output)
        return None if made is None else {index: [], reader: made}

    @cached_property
    def _makers(self) -> dict[str, int]:
        """Which step makes a value."""
        return {step.output: number for number, step in enumerate(self.steps)}

    @cached_property
    def _readers(self) -> dict[str, list[int]]:
        """Which steps read a value."""
        readers: dict[str, list[int]] = {}
        for number, step in enumerate(self.steps):
            for name in set(step.inputs):
                readers.setdefault(name, []).append(number)
        return readers

    def _source(self, name: str, reader: int, depth: int = 0) -> _Source | None:
        """What a value, which that reader alone takes, is an increasing activation of; None for other values.

        Args:
            depth: how many rearrangements are between the value and the maximum.
        """
        maker = self._makers.get(name)
        if maker is None or depth > _MOST_REARRANGED or self._only_reader(name) != reader:
            return None
        step = self.steps[maker]
        if isinstance(step, AffineStep):
            return self._rearranged(maker, step, depth)
        if not _increases(step.gate):
            return None
        function = Knots(*(part.cpu().expand(-1, step.units) for part in step.gate.parts))
        if not _has_cap(function):
            return _Source(step.inputs[0], function, {maker: []})
        rest, knot = _without_cap(function), step.gate.knots[-1:]
        if rest is None or not len(rest.knots):
            return None
        ones, zeros = torch.ones_like(knot), torch.zeros_like(knot)
        cap = Knots(knot, torch.cat([ones, zeros]), torch.cat([zeros, knot]))
        return _Source(step.output, rest, {maker: [replace(step, gate=cap)]})

    def _rearranged(self, maker: int, step: AffineStep, depth: int) -> _Source | None:
        """The same of a step that only takes numbers of such values."""
        sources = [source for name in step.inputs if (source := self._source(name, maker, depth + 1)) is not None]
        if step.is_matrix or step.terms > 1 or step.bias is not None or len(sources) < len(step.inputs):
            return None
        found = taken(step, [self.shapes[name] for name in step.inputs])
        if found is None or (found[0] < 0).any() or (found[1] < 0).any():
            return None
        if len({source.function.piece_count for source in sources}) > 1:
            return None
        columns = zip(*(source.function.parts for source in sources))
        function = Knots(*(torch.cat(parts, 1)[:, found[0]] for parts in columns))
        replaced: Replaced = {maker: [replace(step, inputs=tuple(source.name for source in sources))]}
        return _Source(step.output, function, reduce(or_, (source.replaced for source in sources), replaced))

    def _only_reader(self, name: str) -> int | None:
        """The one step that reads a value, where nothing else needs it."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and name in self.releases[readers[0]] else None

    def _one_gate(self, step: GateStep, gate: Maximum, name: str, function: Knots, output: str) -> list[Step] | None:
        """A function of a maximum of the numbers of a value, with a floor if the function has one.

        Args:
            step: of the maximum.
            function: of each unit, or one for all.
        """
        windows, made = gate.windows, list[Step]()
        if _has_floor(function):
            if not _meet(function.knots[0], function.slopes[1], function.offsets[1], function.offsets[0]):
                return None
            floors = torch.unique(function.knots[0]).to(windows.device)
            joined = _with_constants(f"{output}.floor", name, prod(self.shapes[name]), floors, step)
            piece = torch.searchsorted(floors, function.knots[0].to(windows.device).contiguous()).expand(len(windows))
            windows, name = torch.cat([piece[:, None], windows + len(floors)], 1), joined.output
            function = Knots(function.knots[1:], function.slopes[1:], function.offsets[1:])
            made.append(joined)
        if not (function.slopes[:1] > 0).all():
            return None
        if not len(function.knots) and (function.slopes == 1).all() and not function.offsets.any():
            return [*made, replace(step, inputs=(name,), output=output, gate=Maximum(windows))]
        maximum = replace(step, inputs=(name,), output=f"{output}.maximum", gate=Maximum(windows))
        if not any((part != part[:, :1]).any() for part in function.parts):
            function = Knots(*(part[:, :1] for part in function.parts))
        rest = function.to(function.slopes.dtype, windows.device)
        return [*made, maximum, _of_each_number(output, maximum, rest)]


def _increases(gate: Gate) -> TypeGuard[Knots]:
    """Whether a gate is elementwise and increases: strictly, or for all units alike but for the first or last piece."""
    if not isinstance(gate, Knots) or not gate.slopes.any(0).all():
        return False
    ends = (gate.slopes[0], gate.slopes[-1])
    return bool((gate.slopes[1:-1] > 0).all() and all((end > 0).all() or (end == 0).all() for end in ends))


def _has_floor(gate: Knots) -> bool:
    return len(gate.knots) > 0 and not gate.slopes[0].any()


def _has_cap(gate: Knots) -> bool:
    return len(gate.knots) > 0 and not gate.slopes[-1].any()


def _without_cap(gate: Knots) -> Knots | None:
    """The function whose last piece but one goes on without end; None if that does not meet the flat one exactly."""
    if not _meet(gate.knots[-1], gate.slopes[-2], gate.offsets[-2], gate.offsets[-1]):
        return None
    return Knots(gate.knots[:-1], gate.slopes[:-1], gate.offsets[:-1])


def _meet(knot: Tensor, slope: Tensor, offset: Tensor, flat: Tensor) -> bool:
    """Whether a piece with this slope and offset is as high as the flat one exactly at the knot between them."""
    exact = (
        map(Fraction, column) for column in torch.unique(torch.stack([knot, slope, offset, flat]), dim=1).T.tolist()
    )
    return all(a * t + b == height for t, a, b, height in exact)


def _of_each_number(output: str, step: GateStep, function: Knots) -> Step:
    """A function of each number of a step's output; one without knots bends nowhere, and is no gate."""
    if len(function.knots):
        return GateStep(output, (step.output,), step.shape, step.origin, function)
    slope, offset = (part.expand(-1, step.units).view(1, *step.shape) for part in function.parts[1:])
    bias = offset if offset.any() else None
    return AffineStep(output, (step.output,), step.shape, step.origin, torch.mul, (slope,), bias)


def _with_constants(output: str, name: str, count: int, constants: Tensor, step: GateStep) -> AffineStep:
    """A value's numbers, flat, behind some constants."""
    bias = torch.cat([constants, constants.new_zeros(count)])[None] if constants.any() else None
    function = partial(_behind_zeros, len(constants))
    return AffineStep(output, (name,), (len(constants) + count,), step.origin, function, bias=bias)


def _behind_zeros(count: int, values: Tensor) -> Tensor:
    return torch.nn.functional.pad(flattened(values), (count, 0))
