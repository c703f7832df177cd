"""Windows: stacks of points are cut so that they fit into memory, and the parts that are not at work wait."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from relu_regions.backends import Placement
from relu_regions.backends.points import Points

__all__ = ["Windows", "gap_between_bends"]

# Peak bytes of a stack; a larger one is no faster.
_STACK_BYTES = {"cpu": 128 << 20}


class Windows:
    """Cuts stacks of points, by segments first and then within a segment, and keeps the parts that wait.

    Args:
        gate_steps: the numbers of the steps that are gates.
        budget: bytes that the stacks may take together.
        window: how many intervals of a segment go on together after the first gate, doubling from stretch to stretch;
            None for all.
    """

    def __init__(self, gate_steps: Iterable[int], budget: int, window: int | None) -> None:
        self.window = window
        self.waiting: list[Points] = []
        self._gate_steps = tuple(gate_steps)
        self._budget = budget

    def allowance(self, device: torch.device) -> int:
        """Bytes that one stack of points may take."""
        left = max(0, self._budget - sum(points.bytes for points in self.waiting)) // 2
        return min(left, _STACK_BYTES.get(device.type, left))

    def halved(self, points: Points) -> Points:
        """Leave half of the points for later: half of the segments, or the later half of the only one."""
        if len(points.segments) > 1:
            half = torch.arange(len(points.segments), device=points.segments.device) < len(points.segments) // 2
            self.waiting.append(points.only(~half))
            return points.only(half)
        head, tail = points.cut((points.offsets.diff() - 1) // 2, self._next_gate(points))
        self.waiting.append(tail)
        return head

    def first_of(self, points: Points) -> Points:
        """Leave all but the first window of every segment for later."""
        window, intervals = self.window or len(points), points.offsets.diff() - 1
        if int(intervals.max()) <= window:
            return points
        gate, start, parts = self._next_gate(points), torch.zeros_like(intervals), []
        while (start < intervals).any():
            end = torch.minimum(start + window, intervals)
            parts.append(points.stretch(start, end, gate))
            start, window = end, 2 * window
        self.waiting.extend(parts[:0:-1])
        return parts[0]

    def _next_gate(self, points: Points) -> int:
        return sum(1 for step in self._gate_steps if step < points.step)


def gap_between_bends(points: Points, placed: Placement) -> Placement | None:
    """A new point in the widest gap among the bends in the middle of a single interval; None if there is no room."""
    count = len(placed.right)
    if count < 2:
        return None
    first = count // 4
    gap = first + int(placed.right[first : count - first].diff().argmax())
    pair = slice(gap, gap + 2)
    row, left, right = placed.row[gap : gap + 1], placed.left[pair].mean(0, True), placed.right[pair].mean(0, True)
    before, after = points.between(placed.row[pair], placed.left[pair], placed.right[pair])
    inside = before < points.between(row, left, right) < after
    return Placement.without_crossings(row, left, right, len(points)) if inside else None
