"""Numbers of a network that are equal by construction: copies, multiples that are 0 at once, and zeros that gates make.

Rounding bounds can't tell a tie that holds by construction from two numbers that are close. A post-ReLU zero that max
pooling compares with another one, a ReLU of a ReLU, or the two halves of a concatenated ReLU tie on whole stretches
of a line, so this file finds them from the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from relu_regions.network.gates import Knots
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep
from relu_regions.network.taking import places_read, taken

__all__ = ["EqualNumbers", "matches"]


@dataclass
class EqualNumbers:
    """What is equal in a network whatever its input.

    Attributes:
        sizes: how many numbers each value has, in the order of the steps.
        copies: for values that rearrange others, ``(numbers,)`` int64: numbers with one source are equal, numbers with
            opposite sources are opposite. 0 for a number that is always 0.
        multiples: for values that rearrange or scale others, ``(numbers,)`` int64: numbers with one id are multiples of
            one another by a factor that is not 0, so that all are 0 where one is. 0 for a number that is always 0.
        zeros: ``(numbers,)`` bool, by value: where a computed 0 is a true 0 if every sign so far is certain. A value
            without such numbers is left out.
        shared: the values that gates read some of whose numbers gates before have made, or read, or multiples of
            these.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    copies: dict[str, Tensor] = field(default_factory=dict)
    multiples: dict[str, Tensor] = field(default_factory=dict)
    zeros: dict[str, Tensor] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    _sources: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> EqualNumbers:
        """Those of a network, found once."""
        return network.derived("copies", lambda: cls._found(network))

    @classmethod
    def _found(cls, network: Network) -> EqualNumbers:
        """Find them, from the steps alone; a plain chain of layers costs nothing."""
        shapes = {network.input_name: network.input_shape} | {step.output: step.shape for step in network.steps}
        found = cls({name: math.prod(shape) for name, shape in shapes.items()})
        for step in network.steps:
            if isinstance(step, GateStep):
                found._gate(step)
            elif not step.is_matrix and step.terms == 1:
                found._rearrangement(step, [shapes[name] for name in step.inputs])
                found._scaling(step, [shapes[name] for name in step.inputs])
        found._share(network)
        return found

    def sources(self, name: str) -> Tensor:
        """The source that each number of a value is a copy of, ``(numbers,)`` int64; see ``copies``."""
        if name in self.copies:
            return self.copies[name]
        if name not in self._sources:
            names = list(self.sizes)
            start = 1 + sum(self.sizes[other] for other in names[: names.index(name)])
            self._sources[name] = torch.arange(start, start + self.sizes[name])
        return self._sources[name]

    def _share(self, network: Network) -> None:
        seen, shared = torch.zeros(1 + sum(self.sizes.values()), dtype=torch.bool), set()
        for step in network.gates:
            (name,) = step.inputs
            if bool(seen[self.roots(name)].any()):
                shared.add(name)
            seen[self.roots(name)] = seen[self.sources(step.output).abs()] = True
        self.shared = frozenset(shared)

    def roots(self, name: str) -> Tensor:
        """What each number of a value is a multiple of, ``(numbers,)`` int64; see ``multiples``."""
        return self.multiples[name] if name in self.multiples else self.sources(name).abs()

    def becomes_zero(self, name: str) -> bool:
        """Whether a value has numbers whose computed zeros are true ones, and that are not 0 always."""
        return name in self.zeros and bool((self.zeros[name] & (self.sources(name) != 0)).any())

    def _gate(self, step: GateStep) -> None:
        if isinstance(step.gate, Knots):
            zeros = step.gate.exact_zeros.cpu().expand(step.units)
        else:
            zeros = self._zeros(step.inputs[0])[step.gate.windows.cpu()].all(1)
        self._note(step.output, zeros)

    def _note(self, name: str, zeros: Tensor) -> None:
        if zeros.any():
            self.zeros[name] = zeros

    def _zeros(self, name: str) -> Tensor:
        return self.zeros.get(name, torch.zeros(self.sizes[name], dtype=torch.bool))

    def _rearrangement(self, step: AffineStep, shapes: list[tuple[int, ...]]) -> None:
        found = taken(step, shapes)
        if found is None:
            return
        place, sign = found
        # At the end, what a number that takes nothing is: 0.
        sources = torch.cat([*(self.sources(name) for name in step.inputs), torch.zeros(1, dtype=torch.int64)])
        zeros = torch.cat([*(self._zeros(name) for name in step.inputs), torch.ones(1, dtype=torch.bool)])
        biased, own = _biased(step), self.sources(step.output)
        self.copies[step.output] = torch.where(biased, own, sign * sources[place])
        self._note(step.output, zeros[place] & ~biased)

    def _scaling(self, step: AffineStep, shapes: list[tuple[int, ...]]) -> None:
        """A step that takes each number once, times one coefficient, as a batch norm does that shifts nothing."""
        places = places_read(step, shapes, range(len(shapes))) if len(step.constants) <= 1 else None
        if places is None:
            return
        # Nothing is added, so that these products with 1 are exact: a coefficient is 0 only if its constant is.
        like = step.constants[0] if step.constants else torch.zeros(0, dtype=torch.float64)
        factor = step.linear(*(like.new_ones(1, *shape) for shape in shapes)).reshape(-1).cpu()
        own = self.sources(step.output).abs()
        roots = torch.cat([*(self.roots(name) for name in step.inputs), torch.zeros(1, dtype=torch.int64)])
        self.multiples[step.output] = torch.where(_biased(step), own, torch.where(factor == 0, 0, roots[places]))


def _biased(step: AffineStep) -> Tensor:
    """The outputs to which a step adds a number, ``(outputs,)`` bool."""
    if step.bias is None:
        return torch.zeros(math.prod(step.shape), dtype=torch.bool)
    return step.bias.cpu().expand(1, *step.shape).reshape(-1) != 0


def matches(ordered: Tensor, order: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Every pair of a wanted id and a key that is equal to it: places among both, ``(M,)`` int64 each.

    Args:
        ordered: keys in order.
        order: where each of these stands among the keys, as ``keys.sort()`` says.
        wanted: ids, ``(W,)`` int64.
    """
    lower, upper = (torch.searchsorted(ordered, wanted, right=right) for right in (False, True))
    count = upper - lower
    each = torch.arange(len(count), device=count.device).repeat_interleave(count)
    place = torch.arange(len(each), device=count.device) - (count.cumsum(0) - count)[each] + lower[each]
    return each, order[place]
