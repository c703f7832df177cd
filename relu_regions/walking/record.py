"""The record of a walk: which piece of a gate each unit is on at the ends of segments, and where it changes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.backends import Placement, carry_over, edge_pieces
from relu_regions.backends.points import Flips, Points
from relu_regions.network.gates import Gate

__all__ = ["record_gate"]


def record_gate(number: int, gate: Gate, points: Points, inputs: Tensor, placed: Placement) -> None:
    """Keep a gate's pieces at the segments' ends, and its changes of piece at all points, with the points.

    Args:
        number: of the gate.
        gate: which one.
        points: as they were before the gate's bends are inserted; their ``first``, ``last`` and ``flips`` are changed.
        inputs: of the gate at these points, ``(P, inputs)``.
        placed: the gate's bends.
    """
    weight, found = points.weight_column(), placed.crossings
    first, last = points.offsets[:-1], points.offsets[1:] - 1
    first_pieces = edge_pieces(gate, inputs, weight, first, first + 1)
    last_pieces = edge_pieces(gate, inputs, weight, last, last - 1)
    # A crossing that rounds to the end of a segment changes the pattern there, with no region before it.
    old_rows = placed.old_rows
    segment = torch.bucketize(found.row, points.offsets[1:], right=True)
    at_first = placed.crossing_row == old_rows[first][segment]
    at_last = placed.crossing_row == old_rows[last][segment]
    crossings = (segment, found.unit, found.before, found.after)
    carry_over(gate, first_pieces, *(part[at_first] for part in crossings))
    segment, unit, before, after = (part[at_last].flip(0) for part in crossings)
    carry_over(gate, last_pieces, segment, unit, after, before)
    points.first[number], points.last[number] = first_pieces, last_pieces
    ends = torch.zeros(len(placed), dtype=torch.bool, device=inputs.device)
    ends[old_rows[first]], ends[old_rows[last]] = True, True
    changes, kept = placed.changes, ~ends[placed.crossing_row]
    new = Flips.of_gate(number, placed.crossing_row, found.unit, found.before, found.after)
    if len(changes.row):
        at = Flips.of_gate(number, old_rows[changes.row], changes.unit, changes.before, changes.after)
        new, kept = Flips.joined([at, new]), torch.cat([~ends[at.row], kept])
    earlier = replace(points.flips, row=old_rows[points.flips.row])
    points.flips = Flips.joined([earlier, new if kept.all() else new[kept]])
