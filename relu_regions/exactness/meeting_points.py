"""Where patches of an image become equal on a line x + t d: there all channels of a convolution tie at one t, exactly.

Two pixels p and q are equal at t = (x_p - x_q) / (d_q - d_p) alone. Two patches that one convolution reads meet at t if
all pairs of their pixels are equal there, or always. A max pooling in which the two equal outputs compete then bends in
every channel at this t, which rounding can't tell from close ones. Where such a t lies is only looked for in floats.
Which pairs of pixels are equal there is decided exactly: their differences a + t b and c + t e must be computed without
rounding, and a e = b c must hold of the products as pairs of floats. t = 0 and t = 1 need no search and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from relu_regions.exactness.error_free import two_product, two_sum
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
    t: list[float] = []
    exact: list[bool] = []
    pairs: list[Tensor] = []
    offsets = [0]
    meet = _may_meet(x, d, compared).tolist()
    for line in range(len(x)):
        found = _of_line(x[line], d[line], compared) if meet[line] else _Found([], [], [])
        t, exact, pairs = t + found.t, exact + found.exact, pairs + found.pairs
        offsets.append(len(t))
    told = torch.tensor(t, dtype=torch.float64), torch.tensor(exact, dtype=torch.bool)
    return Meetings(*told, tuple(offsets), tuple(pairs))


class _Compared(NamedTuple):
    """Patches of the input that a maximum compares.

    Attributes:
        shifts: how far they lie apart, down and to the right.
        kernel: their size, that of the first convolution.
        before, after: how far those that it reads reach out of the image at its start and at its end.
    """

    shifts: list[tuple[int, int]]
    kernel: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def room(self) -> int:
        """As many places as a patch or a shift reaches."""
        return max(*self.kernel, *(abs(step) for shift in self.shifts for step in shift))

    def are_read(self, height: int, width: int) -> Tensor:
        """Which patches of an image with zeros around it are read, and those a shift away too.

        Returns:
            ``(shifts, height', width')`` bool, by where a patch starts.
        """
        axes = []
        for axis, size in enumerate((height, width)):
            start = torch.arange(size - self.kernel[axis] + 1) - self.room
            last = size - 2 * self.room + self.after[axis] - self.kernel[axis]
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
    return _Compared(sorted(shifts), first.kernel, first.padding, tuple(after))


class _Pairs(NamedTuple):
    """Pairs of pixels of one line, each with the one that lies a shift away, ``(shifts, C, H', W')`` each.

    Attributes:
        apart, slope: the pixels' difference at x, and how it grows along d; NaN where floats don't hold these.
        roots: where they are equal, as far as floats tell: NaN for always, infinite for never.
        numbers: both in the input, -1 for a zero around it; ``(2, shifts, C, H', W')``.
    """

    apart: Tensor
    slope: Tensor
    roots: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, x: Tensor, d: Tensor, compared: _Compared) -> _Pairs:
        """Those of an image, with zeros around it."""
        number = pad(1 + torch.arange(x.numel()).view(x.shape), [compared.room] * 4) - 1
        others = _shifted(number, compared)
        return cls(*_differences(x, d, compared), torch.stack([number.expand_as(others), others]))


def _may_meet(x: Tensor, d: Tensor, compared: _Compared) -> Tensor:
    """Which lines have patches that are equal somewhere, as far as floats tell, ``(L,)`` bool."""
    found = [torch.zeros(0, dtype=torch.bool)]
    size = len(compared.shifts) * pad(x[:1], [compared.room] * 4).numel()
    for some in torch.split(torch.arange(len(x)), max(1, _BLOCK_NUMBERS // max(1, size))):
        *_, roots = _differences(x[some], d[some], compared)
        _, close = _meeting(roots, compared)
        found.append(close.flatten(2).any(2).any(0))
    return torch.cat(found)


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
    return least, close & compared.are_read(*roots.shape[3:])[:, None]


def _differences(x: Tensor, d: Tensor, compared: _Compared) -> tuple[Tensor, Tensor, Tensor]:
    """Apart, slope and roots, as ``_Pairs`` has them, of images ``(..., C, H, W)``: ``(shifts, ..., C, H', W')``."""
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


def _near(roots: Tensor, wanted: Tensor) -> Tensor:
    """Which roots may be one of some numbers, as far as floats tell, ``(wanted, roots)`` bool."""
    level = wanted[:, None]
    return (roots - level).abs() <= _CLOSE * level.abs().clamp_min(1)


class _Found(NamedTuple):
    """The meetings of one line: nearest floats, whether these are the true t, and the pairs that are equal there."""

    t: list[float]
    exact: list[bool]
    pairs: list[Tensor]


def _of_line(x: Tensor, d: Tensor, compared: _Compared) -> _Found:
    found = _Pairs.of(x, d, compared)
    least, meets = _meeting(found.roots[:, None], compared)
    wanted = torch.as_tensor(np.unique(least[meets].numpy()))
    if not len(wanted):
        return _Found([], [], [])
    near = _near(found.roots.flatten(), wanted).any(0)
    apart, slope, roots = (part.flatten()[near] for part in found[:3])
    numbers = found.numbers.flatten(1)[:, near]
    reference = (roots == wanted[:, None]).to(torch.uint8).argmax(1)
    ours, theirs = apart[reference], slope[reference]
    same = _same_roots(ours, theirs, apart, slope) & _near(roots, wanted)
    # A root is the nearest float of a quotient. It is the root itself if its product with the slope says so.
    product, lost = two_product(wanted, theirs)
    exact = (product == -ours) & (lost == 0) & (product.abs() > _LEAST)
    between = _same_roots(ours, theirs, ours, theirs)
    kept: list[int] = []
    told = torch.ones_like(exact)
    for number, place in enumerate(wanted.tolist()):
        close = bool(kept) and place - float(wanted[kept[-1]]) <= 2 * _CLOSE * max(1.0, abs(place))
        if close and bool(between[kept[-1], number]):
            continue
        if close:
            # Two that floats hardly tell apart: neither gets a point of its own.
            told[[kept[-1], number]] = False
        kept.append(number)
    chosen = [number for number in kept if bool(told[number] & same[number].any())][:_MOST]
    return _Found(wanted[chosen].tolist(), exact[chosen].tolist(), [numbers[:, same[number]].T for number in chosen])


def _same_roots(apart: Tensor, slope: Tensor, others: Tensor, slopes: Tensor) -> Tensor:
    """Whether roots are equal exactly, those of ``(m,)`` numbers in rows and of ``(n,)`` others, ``(m, n)`` bool."""
    one, other = two_product(others, slope[:, None]), two_product(apart[:, None], slopes)
    # What underflows in a product is not known.
    return (one[0] == other[0]) & (one[1] == other[1]) & (one[0].abs() > _LEAST)
