"""Where a class holds as deployed: for every evaluation in float32, or in a half type with sums in float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.backends.memory import budget
from relu_regions.exactness.deployed_bounds import Arithmetic, DeployedBounds
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import LineBatch
from relu_regions.lines.progress import Progress
from relu_regions.network.network import Network
from relu_regions.walking.walker import collected

__all__ = ["as_deployed", "refuse"]

# Bytes that the widest value of a chunk of stretches may take.
_CHUNK_BYTES = 16 << 20
# Towards infinity a stretch is twice as long as what is before it, so many times.
_DOUBLINGS = 24
# How often the last stretch is halved, and how often that is done once more from where it ends.
_HALVINGS, _ROUNDS = 12, 3


class _Sides(NamedTuple):
    """What is known so far of both sides of lines, ``(2 * N,)`` each: of x upwards, and then of x downwards.

    Attributes:
        good: up to where the class is proven.
        bad: the end of the next stretch, on which it is not.
    """

    good: Tensor
    bad: Tensor


def refuse(network: Network, dtype: torch.dtype) -> None:
    """Raise an error about what the bounds don't cover, before anything is walked.

    Raises:
        ValueError: the type is none that networks are deployed in.
        UnsupportedOperation: the network has a batch norm.
    """
    DeployedBounds(network, Arithmetic.of(dtype))


def as_deployed(
    lines: LineBatch, lo: Tensor, hi: Tensor, label: Tensor, decision: Decision, dtype: torch.dtype,
    memory_budget: int | None = None, progress: bool | None = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """An interval of t around 0 on which every evaluation in a type gives a class.

    Args:
        lines: in float64.
        lo, hi: the exact ends, ``(N,)`` float64.
        label: the class of x, ``(N,)`` int64.
        dtype: float32, float16 or bfloat16.
        progress: as ``exact_interval``.

    Returns:
        Its ends, finite, ``(N,)`` float64 each, and whether x itself is proven to have the class, ``(N,)`` bool: else
        both ends are 0.
    """
    search = _Search(lines, label, decision, Arithmetic.of(dtype), memory_budget)
    zero = torch.zeros_like(lo)
    with Progress(2 + _ROUNDS, "deployed", progress, "round") as bar:
        certain = search.holds(torch.arange(len(lo), device=lo.device), zero, zero)
        bar.reach(1)
        sides = search.outwards(lo, hi, certain)
        for number in range(_ROUNDS):
            bar.reach(2 + number)
            sides = search.halved(sides)
    return sides.good[len(lo) :], sides.good[: len(lo)], certain


class _Search:
    """Asks the bounds about stretches of lines."""

    def __init__(
        self, lines: LineBatch, label: Tensor, decision: Decision, arithmetic: Arithmetic, memory_budget: int | None
    ) -> None:
        self.lines, self.label, self.decision = lines, label, decision
        self.bounds, self.memory_budget = DeployedBounds(lines.network, arithmetic), memory_budget
        widest = max(math.prod(shape) for shape in lines.network.shapes.values())
        bytes_ = min(_CHUNK_BYTES, budget(memory_budget, lines.x.device) // 16)
        self.chunk = max(1, bytes_ // (8 * max(1, widest)))

    def holds(self, line: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Whether the class is proven on stretches, ``(S,)`` bool.

        Args:
            line: ``(S,)`` int64; a, b: ``(S,)`` float64, in any order.
        """
        found = [torch.zeros(0, dtype=torch.bool, device=line.device)]
        for chosen in torch.split(torch.arange(len(line), device=line.device), self.chunk):
            own, x, d = line[chosen], self.lines.x, self.lines.d
            here, there, error = self.bounds.through(x[own], d[own], a[chosen], b[chosen])
            label = self.label[own]
            # The lead of a class is affine along the chords, and least at an end.
            lead = torch.minimum(self.decision.leads(here, label), self.decision.leads(there, label))
            off = self.decision.logits(error)
            off = off + off.gather(1, self.decision.places(label)[:, None])
            found.append((lead > off * (1 + 2.0**-40)).all(1))
        return torch.cat(found)

    def outwards(self, lo: Tensor, hi: Tensor, certain: Tensor) -> _Sides:
        """How far the stretches between breakpoints are proven one after another, from x on."""
        count = len(lo)
        good, bad = torch.zeros(2 * count, dtype=lo.dtype, device=lo.device), torch.cat([hi, lo])
        stretches = list(self._stretches(lo, hi, certain))
        if not stretches:
            return _Sides(good, good)
        side, a, b = (torch.cat(parts) for parts in zip(*stretches))
        proven = self.holds(side % count, a, b)
        bad = torch.zeros_like(good)
        for number in torch.unique(side).tolist():
            own = (side == number).nonzero()[:, 0]
            open_ = (~proven[own]).nonzero()[:1, 0]
            if len(open_):
                good[number], bad[number] = a[own[open_]][0], b[own[open_]][0]
            else:
                good[number] = bad[number] = b[own[-1]]
        return _Sides(good, bad)

    def _stretches(self, lo: Tensor, hi: Tensor, certain: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Side, start and end of the stretches of each line, outwards from x."""
        numbers = (certain & (lo < hi)).nonzero()[:, 0]
        if not len(numbers):
            return
        low, high = lo[numbers].clamp_max(0), hi[numbers].clamp_min(0)
        around = LineBatch(self.lines.network, self.lines.x[numbers], self.lines.d[numbers], low, high)
        paths, count = collected(around, None, self.memory_budget), len(lo)
        for place, line in enumerate(numbers.tolist()):
            t = paths[place].t
            for side, ends in ((line, t[t > 0]), (line + count, t[t < 0].flip(0))):
                ends = _finite(ends)
                if len(ends):
                    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
                    yield torch.full_like(ends, side, dtype=torch.int64), starts, ends

    def halved(self, sides: _Sides) -> _Sides:
        """Where the class is proven up to in the stretch behind what is proven, by halving it."""
        (open_,) = (sides.good != sides.bad).nonzero(as_tuple=True)
        line, base = open_ % len(self.label), sides.good[open_]
        near, far = base, sides.bad[open_]
        for _ in range(_HALVINGS if len(open_) else 0):
            middle = near / 2 + far / 2
            proven = self.holds(line, base, middle)
            near, far = torch.where(proven, middle, near), torch.where(proven, far, middle)
        return sides._replace(good=sides.good.index_copy(0, open_, near))


def _finite(ends: Tensor) -> Tensor:
    """Breakpoints outwards; in place of an infinite end a few more that double."""
    if not len(ends) or not torch.isinf(ends[-1]):
        return ends
    last = float(ends[-2]) if len(ends) > 1 else math.copysign(1.0, float(ends[-1]))
    more = last * 2.0 ** torch.arange(1, _DOUBLINGS + 1, dtype=ends.dtype, device=ends.device)
    more = more[torch.isfinite(more)]
    return torch.cat([ends[:-1], ends.new_tensor([last]), more]) if len(ends) == 1 else torch.cat([ends[:-1], more])
