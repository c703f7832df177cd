"""A value with exact digits below float64: exact numbers and a float64 remainder, put on a grid where it is read.

See `relu_regions.exactness.judge.digits`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from relu_regions.exactness.judge.balls import UNIT, Ball, least, norm_of
from relu_regions.exactness.judge.grids import bits_of, blockwise_largest, grid_above, on_grid

__all__ = ["Carried"]

# So many exact parts may be put on one grid.
_MOST_PARTS = 100


@dataclass
class Carried:
    """A value at R rows of each of B blocks: a sum of exact numbers, a float64 remainder, and its errors.

    Attributes:
        count: how many digits it is to have.
        parts: exact numbers, ``(B * R, *shape)`` each; those of one that is on its grid are its digits.
        rest: the remainder, ``(B * R, *shape)``.
        most: a bound of its size, ``(B, *shape)``; not 0 where anything of a number is not 0.
        radius, norm: how far the sum may be off, as those of a Ball.
        offsets: further exact parts, the same for all rows of a block, ``(B, *shape)`` each.
        grid: of the first digit, ``(B,)``; None before `settled`.
    """

    count: int
    parts: list[Tensor]
    rest: Tensor
    most: Tensor
    radius: Tensor
    norm: Tensor
    offsets: list[Tensor] = field(default_factory=list)
    grid: Tensor | None = None

    def settled(self) -> Carried:
        """Itself, its parts made digits on a grid."""
        if self.grid is not None:
            return self
        blocks, shape = len(self.radius), self.rest.shape[1:]
        column, bits = (-1, *[1] * (len(shape) + 1)), bits_of(self.count)
        parts = [part.view(blocks, -1, *shape) for part in self.parts]
        parts += [part[:, None] for part in self.offsets]
        rest = self.rest.view(blocks, -1, *shape)
        top = torch.stack([blockwise_largest(part) for part in (*parts, self.most)]).sum(0) * (1 + 2.0**-40)
        first = grid_above(top, bits)
        grids = [first * 2.0 ** (-bits * number) for number in range(self.count)]
        digits = [_taken_off(parts, grid.view(column)) for grid in grids]
        for part in parts:
            rest += part
        for number in reversed(range(self.count)):
            below = digits[number + 1] if number + 1 < self.count else rest
            carry = on_grid(below, grids[number].view(column))
            below -= carry
            digits[number] += carry
        last, alive = grids[-1].view(column[:-1]), self.most > 0
        made = torch.where(alive, (4 * len(parts) + 8) * UNIT * (self.most + len(parts) * last), 0.0)
        # Beyond these sizes numbers would not be cut exactly.
        good = (top < 2.0**900) & (blockwise_largest(self.most) < 2.0**50 * grids[-1]) & (len(parts) <= _MOST_PARTS)
        self.radius = torch.where(good.view(column[:-1]), self.radius + made, torch.inf)
        norm = least((self.norm + norm_of(made)) * (1 + 8 * UNIT), self.radius)
        self.norm = torch.where(good, norm, torch.inf)
        self.parts, self.offsets, self.grid = [digit.view(self.rest.shape) for digit in digits], [], first
        self.most = torch.where(alive, last.expand_as(self.most), 0.0)
        return self

    @cached_property
    def ball(self) -> Ball:
        """What is read of a value on its grid."""
        blocks = len(self.radius)
        # Two digits together are exact, so that the sum has the sign of what is carried.
        value = self.parts[0] + (self.parts[1] if self.count > 1 else self.rest)
        if self.count > 1:
            value += self.rest
        rows = value.view(blocks, -1, *value.shape[1:])
        size = torch.maximum(rows.amax(1), -rows.amin(1))
        room = torch.where(self.most > 0, 2 * UNIT * size, 0.0)
        return Ball.of(value, (self.radius + room) * (1 + 8 * UNIT), (self.norm + norm_of(room)) * (1 + 8 * UNIT))

    def unit_of(self, number: int) -> Tensor:
        """The grid of a digit where a number is not 0, ``(B, *shape)``."""
        assert self.grid is not None
        grid = self.grid * 2.0 ** (-bits_of(self.count) * number)
        return torch.where(self.most > 0, grid.view(-1, *[1] * (self.most.ndim - 1)), 0.0)

    @cached_property
    def sizes(self) -> list[Tensor]:
        """Bounds of the digits' sizes, ``(B, *shape)`` each."""
        first = self.ball.size * (1 + 8 * UNIT) + 2 * self.unit_of(0)
        return [first, *(self.unit_of(number) for number in range(self.count - 1))]

    def shaped(self, shape: tuple[int, ...]) -> Carried:
        """The same with numbers in another shape."""
        alone = {name: getattr(self, name) for name in ("rest", "most", "radius")}
        alone = {name: part.reshape(len(part), *shape) for name, part in alone.items()}
        return replace(self, parts=[part.reshape(len(part), *shape) for part in self.parts], **alone)


def _taken_off(parts: list[Tensor], grid: Tensor) -> Tensor:
    """The sum of the multiples of a grid that are nearest to exact numbers, which become what is left of them."""
    total = on_grid(parts[0], grid)
    parts[0] -= total
    for part in parts[1:]:
        digit = on_grid(part, grid)
        part -= digit
        total += digit
    return total
