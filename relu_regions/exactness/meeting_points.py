"""Where patches of an image become equal on a line x + t d: there all channels of a convolution tie at one t, exactly.

Two pixels p and q are equal at t = (x_p - x_q) / (d_q - d_p) alone. Two patches that one convolution reads meet at t if
all pairs of their pixels are equal there, or always. A max pooling in which the two equal outputs compete then bends in
every channel at this t, which rounding can't tell from close ones. Where such a t lies is only looked for in floats.
Which pairs of pixels are equal there is decided exactly: their differences a + t b and c + t e must be computed without
rounding, and a e = b c must hold of the products as pairs of floats. t = 0 and t = 1 need no search and are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from relu_regions.exactness.error_free import two_product, two_sum
from relu_regions.network.arrays import Numbers
from relu_regions.network.gates import Maximum
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, Convolution, GateStep

__all__ = ["Meetings", "meeting_points"]

# Floats this close, relative to the larger one or 1, may be one number; the least distance that is kept between two t.
_CLOSE = 2.0**-30
# Of one line; more are not worth a point of the walk each.
_MOST = 64
# A product of floats that is at least this loses nothing by underflow.
_LEAST = 2.0**-900
# Of a window, between its inputs.
_MOST_SHIFTS = 16
# Pairs of pixels that are looked at at once.
_BLOCK_NUMBERS = 1 << 20


@dataclass(frozen=True)
class Meetings:
    """Where pixels meet on lines, in order of t on each.

    Attributes:
        t: the nearest floats, ``(K,)`` float64, on the CPU.
        exact: whether they are the true t, ``(K,)`` bool.
        offsets: those of line i are ``offsets[i]`` to ``offsets[i + 1]``.
        pairs: for each, numbers of the input that are equal there, -1 for 0; ``(m, 2)`` int64.
    """

    t: Tensor
    exact: Tensor
    offsets: tuple[int, ...]
    pairs: tuple[Tensor, ...]

    def of(self, first: int, stop: int) -> Meetings:
        """Those of some lines."""
        start, end = self.offsets[first], self.offsets[stop]
        own = slice(start, end)
        offsets = tuple(offset - start for offset in self.offsets[first : stop + 1])
        return Meetings(self.t[own], self.exact[own], offsets, self.pairs[own])

    @property
    def by_line(self) -> Tensor:
        """The t of each line in a row, ``(L, k)``, NaN behind the last."""
        counts = [stop - start for start, stop in pairwise(self.offsets)]
        rows = torch.full((len(counts), max(counts, default=0)), torch.nan, dtype=torch.float64)
        rows[torch.arange(rows.shape[1]) < torch.tensor(counts)[:, None]] = self.t
        return rows


def meeting_points(network: Network, x: Tensor, d: Tensor) -> Meetings | None:
    """Where patches meet on some lines; None for networks that don't begin with a convolution of images.

    Args:
        x, d: ``(L, *input_shape)``.
    """
    compared = network.derived("compared patches", lambda: _compared(network))
    if compared is None:
        return None
    x, d = (part.detach().cpu().double() for part in (x, d))
    found: list[_Found] = []
    size = len(compared.shifts) * pad(x[:1], [compared.room] * 4).numel()
    for some in torch.split(torch.arange(len(x)), max(1, _BLOCK_NUMBERS // max(1, size))):
        parts = _differences(x[some], d[some], compared)
        least, close = _meeting(parts[2], compared)
        for line, meet in enumerate(close.flatten(2).any(2).any(0).tolist()):
            wanted = np.unique(least[:, line][close[:, line]].numpy()) if meet else np.zeros(0)
            apart, slope, roots = (part[:, line].flatten() for part in parts)
            found.append(_of_line(wanted, apart, slope, roots, compared.numbers))
    return Meetings(
        torch.tensor([t for line in found for t in line.t], dtype=torch.float64),
        torch.tensor([told for line in found for told in line.exact], dtype=torch.bool),
        (0, *accumulate(len(line.t) for line in found)),
        tuple(pairs for line in found for pairs in line.pairs),
    )


@dataclass(frozen=True)
class _Compared:
    """Patches of the input that a maximum compares.

    Attributes:
        image: the input's shape.
        shifts: how far they lie apart, down and to the right.
        kernel: their size, that of the first convolution.
        before, after: how far those that it reads reach out of the image at its start and at its end.
    """

    image: tuple[int, ...]
    shifts: list[tuple[int, int]]
    kernel: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def room(self) -> int:
        """As many places as a patch or a shift reaches."""
        return max(*self.kernel, *(abs(step) for shift in self.shifts for step in shift))

    @cached_property
    def numbers(self) -> Tensor:
        """Of each pair of pixels that lie a shift apart the numbers in the input, -1 for a zero around it.

        As the roots of a line, ``(shifts * C * H' * W', 2)`` int64.
        """
        number = pad(1 + torch.arange(math.prod(self.image)).view(self.image), [self.room] * 4) - 1
        others = _shifted(number, self)
        return torch.stack([number.expand_as(others), others], -1).flatten(0, -2)

    @cached_property
    def are_read(self) -> Tensor:
        """Which patches of an image with zeros around it are read, and those a shift away too.

        By where a patch starts, ``(shifts, height', width')`` bool.
        """
        axes = []
        for axis, inner in enumerate(self.image[1:]):
            size = inner + 2 * self.room
            start = torch.arange(size - self.kernel[axis] + 1) - self.room
            last = inner + self.after[axis] - self.kernel[axis]
            axes.append(
                [
                    ((here := start + shift[axis]) >= -self.before[axis])
                    & (here <= last)
                    & (start >= -self.before[axis])
                    & (start <= last)
                    for shift in self.shifts
                ]
            )
        return torch.stack([rows[:, None] & columns for rows, columns in zip(*axes)])


def _compared(network: Network) -> _Compared | None:
    """None if there are none."""
    first: Convolution | None = None
    last: Convolution | None = None
    shifts: set[tuple[int, int]] = set()
    for step in network.steps:
        if isinstance(step, AffineStep) and isinstance(step.form, Convolution):
            last = step.form
            if len(last.kernel) != 2 or (first is None and last.inputs != network.input_shape):
                return None
            first = first or last
        elif isinstance(step, GateStep) and isinstance(step.gate, Maximum) and first is not None and last is not None:
            _, height, width = last.outputs
            scales = [max(1, round(size / max(1, own))) for size, own in zip(first.inputs[1:], (height, width))]
            columns = step.gate.windows[:, (step.gate.windows.diff(dim=0) != 0).any(0)]
            apart = torch.unique((columns[:, None] - columns[:, :, None]).clamp_min(0)).tolist()
            for distance in apart[1 : 1 + _MOST_SHIFTS]:
                down = round(distance / width)
                shifts.add((scales[0] * down, scales[1] * (distance - down * width)))
        elif isinstance(step, GateStep) and first is None:
            return None
    largest = max(network.input_shape[1:], default=0)
    shifts = {shift for shift in shifts if max(map(abs, shift)) < largest}
    if first is None or not shifts:
        return None
    sizes = zip(first.inputs[1:], first.outputs[1:], first.kernel, first.stride, first.padding, first.dilation)
    after = (max(0, (out - 1) * by + (k - 1) * wide + 1 - size - pad) for size, out, k, by, pad, wide in sizes)
    return _Compared(network.input_shape, sorted(shifts), first.kernel, first.padding, tuple(after))


def _meeting(roots: Tensor, compared: _Compared) -> tuple[Tensor, Tensor]:
    """Where patches are equal, and whether they are anywhere, as far as floats tell.

    Args:
        roots: ``(shifts, L, C, H', W')``.

    Returns:
        ``(shifts, L, H'', W'')`` each.
    """
    above, below = (
        roots.nan_to_num(torch.inf, torch.inf, -torch.inf),
        roots.nan_to_num(-torch.inf, torch.inf, -torch.inf),
    )
    least = -max_pool2d(-above.amin(2), compared.kernel, 1)
    most = max_pool2d(below.amax(2), compared.kernel, 1)
    close = (most - least) <= _CLOSE * most.abs().clamp_min(1)
    # An infinite root is that of pixels that are equal nowhere.
    close &= torch.isfinite(least) & torch.isfinite(most) & (least.abs() > _CLOSE) & (least.abs() < 1 / _CLOSE)
    close &= (least - 1).abs() > _CLOSE
    return least, close & compared.are_read[:, None]


def _differences(x: Tensor, d: Tensor, compared: _Compared) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of pixels of images ``(..., C, H, W)``, each with the one that lies a shift away, zeros around it.

    Returns:
        The pixels' difference at x and how it grows along d, NaN where floats don't hold these; and where they are
        equal, as far as floats tell: NaN for always, infinite for never. ``(shifts, ..., C, H', W')`` each.
    """
    images = [pad(part, [compared.room] * 4) for part in (x, d)]
    apart, slope = (_difference(image, _shifted(image, compared)) for image in images)
    roots = torch.where(slope == 0, torch.inf, -apart / slope)
    roots = roots.masked_fill((apart == 0) & (slope == 0), torch.nan)
    return apart, slope, roots.masked_fill(apart.isnan() | slope.isnan(), torch.inf)


def _shifted(image: Tensor, compared: _Compared) -> Tensor:
    """What lies a shift away from each place of images, ``(shifts, ..., C, H', W')``."""
    return torch.stack([image.roll((-down, -right), (-2, -1)) for down, right in compared.shifts])


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Differences, NaN where they are rounded."""
    difference, lost = two_sum(one, -other)
    return difference.masked_fill(lost != 0, torch.nan)


class _Found(NamedTuple):
    """The meetings of one line: nearest floats, whether these are the true t, and the pairs that are equal there."""

    t: list[float]
    exact: list[bool]
    pairs: list[Tensor]


def _of_line(wanted: Numbers, apart: Tensor, slope: Tensor, roots: Tensor, numbers: Tensor) -> _Found:
    """The meetings of a line.

    Args:
        wanted: where patches meet as far as floats tell, in order, ``(W,)``.
        apart, slope, roots: of its pairs of pixels, as _differences has them, ``(n,)`` each.
        numbers: of these pixels, ``(n, 2)``.
    """
    if not len(wanted):
        return _Found([], [], [])
    level = torch.from_numpy(wanted)
    pair, place = _near(roots, level)
    # Of each meeting a pair of pixels that says where it is.
    itself = roots[pair] == level[place]
    reference = torch.full((len(level),), len(roots)).scatter_reduce(0, place[itself], pair[itself], "amin")
    ours, theirs = apart[reference], slope[reference]
    same = _same_roots(ours[place], theirs[place], apart[pair], slope[pair])
    pair, place = pair[same], place[same]
    # A root is the nearest float of a quotient. It is the root itself if its product with the slope says so.
    product, lost = two_product(level, theirs)
    exact = ((product == -ours) & (lost == 0) & (product.abs() > _LEAST)).tolist()
    kept, t = _kept(wanted.tolist(), ours, theirs), wanted.tolist()
    order = torch.argsort(place, stable=True)
    each = torch.split(numbers[pair[order]], torch.bincount(place, minlength=len(t)).tolist())
    chosen = [number for number in kept if len(each[number])][:_MOST]
    return _Found([t[number] for number in chosen], [exact[number] for number in chosen], [each[n] for n in chosen])


def _near(roots: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Which roots may be one of some numbers, as far as floats tell: the numbers of both, root by root.

    Args:
        wanted: in order.
    """
    (finite,) = torch.isfinite(roots).nonzero(as_tuple=True)
    reach, own = _CLOSE * wanted.abs().clamp_min(1), roots[finite]
    # A little more than that on both sides; both ends grow with the number.
    start, stop = torch.searchsorted(wanted + 2 * reach, own), torch.searchsorted(wanted - 2 * reach, own, right=True)
    counts = (stop - start).clamp_min(0)
    pair = finite.repeat_interleave(counts)
    place = torch.arange(len(pair)) + (start - counts.cumsum(0) + counts).repeat_interleave(counts)
    near = (roots[pair] - wanted[place]).abs() <= reach[place]
    return pair[near], place[near]


def _kept(wanted: list[float], ours: Tensor, theirs: Tensor) -> list[int]:
    """One of those that are one number, and none of two others that floats hardly tell apart.

    Args:
        wanted: in order.
        ours, theirs: difference and slope of a pair of pixels that meets at each, ``(W,)``.
    """
    kept: list[int] = []
    told = [True] * len(wanted)
    for number, place in enumerate(wanted):
        if kept and place - wanted[kept[-1]] <= 2 * _CLOSE * max(1.0, abs(place)):
            last = kept[-1]
            if bool(_same_roots(ours[last], theirs[last], ours[number], theirs[number])):
                continue
            told[last] = told[number] = False
        kept.append(number)
    return [number for number in kept if told[number]]


def _same_roots(apart: Tensor, slope: Tensor, others: Tensor, slopes: Tensor) -> Tensor:
    """Whether roots are equal exactly, pair by pair."""
    one, other = two_product(others, slope), two_product(apart, slopes)
    # What underflows in a product is not known.
    return (one[0] == other[0]) & (one[1] == other[1]) & (one[0].abs() > _LEAST)
