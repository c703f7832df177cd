"""walk(): every breakpoint of a batch of segments, collected from a sweep and settled where rounding leaves doubt."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.certainty import Certainty
from relu_regions.lines import Array, LineBatch, Model, Range
from relu_regions.paths import Paths
from relu_regions.points import Flips, Points
from relu_regions.progress import Progress
from relu_regions.segments import Segments
from relu_regions.settling import Resolve, Settled, may_settle, settle, worth_settling
from relu_regions.sweep import Sweep

__all__ = ["walk"]


def walk(
    model: Model,
    x: Array,
    d: Array,
    t_range: Range = (-1.0, 2.0),
    *,
    dtype: torch.dtype = torch.float64,
    resolve: Resolve = "auto",
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Paths:
    """Every breakpoint of the network along ``x + t d``, found without sampling.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        d: directions, broadcastable to x, none of them zero.
        t_range: lower and upper end of t, numbers or ``(N,)`` each, around 0; may be infinite.
        dtype: of the computation, float64 or float32.
        resolve: what to do about segments on which rounding may have decided something (breakpoints that coincide or
            nearly do, units that are exactly 0). "auto" walks them again in rational arithmetic where that takes
            seconds, "always" wherever bounds leave doubt, "never" leaves them. ``Paths.certain`` says what is proven.
        memory_budget: bytes that the walk may take besides its result; a quarter of the free memory by default.
        progress: whether to show a progress bar; by default where a person is looking and it takes long.

    Returns:
        Paths: on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.
    """
    lines = LineBatch.of(model, x, d, t_range, dtype)
    certainty = Certainty.of(lines.network, dtype) if may_settle(resolve) else None
    starts = torch.stack([lines.low, lines.low.clamp(0, 0), lines.high], 1).to(dtype)
    sweep = Sweep(lines.network, Segments(lines.x, lines.d, starts), True, memory_budget, certainty=certainty)
    collected = Collected(lines)
    with torch.no_grad(), sweep.threading(), Progress(len(lines), "walk", progress) as bar:
        for points in sweep:
            collected.add(points)
            bar.reach(int(points.segments.max()))
        paths = collected.paths()
        if certainty is None:
            return paths
        doubtful = worth_settling(~paths.certain, paths.region_counts, resolve, lines.network)
        return with_settled(paths, doubtful, settle(lines, doubtful)) if doubtful else paths


class Collected:
    """Stretches of segments as they come from a sweep, put together at the end."""

    def __init__(self, lines: LineBatch) -> None:
        self.lines = lines
        self.segments: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.position: list[Tensor] = []
        self.weight: list[Tensor] = []
        self.values: list[Tensor] = []
        self.seams: list[Tensor] = []
        self.flips: list[Flips] = []
        self.count = 0
        gates = lines.network.gates
        self.first = [self._empty(step.units, torch.int64) for step in gates]
        self.last = [self._empty(step.units, torch.int32) for step in gates]
        self.errors: list[Tensor] = []
        self.uncertain = torch.zeros(len(lines), dtype=torch.bool, device=lines.x.device)
        self.begun = torch.zeros_like(self.uncertain)
        self.outputs_at_x = lines.x.new_zeros(len(lines), *lines.network.output_shape)
        self.in_order, self.latest = True, -1

    def _empty(self, units: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(len(self.lines), units, dtype=dtype, device=self.lines.x.device)

    def add(self, points: Points) -> None:
        """Take in a finished stack."""
        output = self.lines.network.output_name
        points = points.at_bends(output) if points.at_x is None else points
        assert points.at_x is not None
        passing, outputs = points.at_x
        self.outputs_at_x[points.segments[passing]] = outputs
        self.segments.append(points.segments)
        self.counts.append(points.offsets.diff())
        self.position.append(points.position)
        if points.weight is not None:
            self.weight.append(points.weight)
        self.values.append(points.values[output])
        if points.errors:
            self.errors.append(_t_error(points))
        self._keep(points.flips if self.count == 0 else replace(points.flips, row=points.flips.row + self.count))
        self._keep_patterns(points)
        self.count += len(points)

    def _keep_patterns(self, points: Points) -> None:
        """The patterns at the ends of a stack's segments, and what they say of the bends between two stretches."""
        first, latest = int(points.segments[0]), int(points.segments[-1])
        self.in_order &= first > self.latest
        self.latest = latest
        # Neighbours can be written as a whole.
        neighbours = latest - first + 1 == len(points.segments)
        segments = slice(first, latest + 1) if neighbours else points.segments
        self.uncertain[segments] |= points.uncertain
        follows = self.begun[segments]
        if follows.any():
            self._join(points, follows)
        else:
            for gate, pieces in points.first.items():
                self.first[gate][segments] = pieces
        for gate, pieces in points.last.items():
            self.last[gate][segments] = pieces.to(torch.int32)
        self.begun[segments] = True

    def _join(self, points: Points, follows: Tensor) -> None:
        """Where a stretch goes on from an earlier one, the shared point bends by what the two patterns differ in."""
        rows = points.offsets[:-1] + self.count
        self.seams.append(rows[follows])
        for gate, first in points.first.items():
            own = follows & (points.opened <= gate)
            segment, unit = (own[:, None] & (self.last[gate][points.segments] != first)).nonzero(as_tuple=True)
            before, after = self.last[gate][points.segments[segment], unit], first[segment, unit]
            self._keep(Flips.of_gate(gate, rows[segment], unit, before, after))
            fresh = ~follows
            self.first[gate][points.segments[fresh]] = first[fresh]

    def _keep(self, flips: Flips) -> None:
        """Keep flips in half the memory until all are put in order, unless they are the only ones."""
        if self.flips:
            self.flips[-1] = _condensed(self.flips[-1])
        self.flips.append(flips)

    def paths(self) -> Paths:
        """Everything in order of segment and t."""
        lines, bounded, weighted = self.lines, bool(self.errors), bool(self.weight)
        # Every list is emptied once its parts are one, so that nothing is held twice for longer than that takes.
        self.last = []
        segments, counts = (
            _taken(part, self.begun.new_zeros(0, dtype=torch.int64)) for part in (self.segments, self.counts)
        )
        flips = self._all_flips()
        parts = (self.position, self.values, *([self.weight] if weighted else []), *([self.errors] if bounded else []))
        whole = [_taken(part, lines.x.new_zeros(0)) for part in parts]
        if self.seams or not self.in_order:
            segment = segments.repeat_interleave(counts)
            rows, flips = self._arranged(segment, flips)
            counts, whole = torch.bincount(segment[rows], minlength=len(lines)), [part[rows] for part in whole]
        wide = (part.long() for part in (flips.gate, flips.unit, flips.before, flips.after))
        return Paths(
            network=lines.network,
            x=lines.x,
            d=lines.d,
            offsets=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
            position=whole[0],
            weight=whole[2] if weighted else None,
            values=whole[1].view(-1, *lines.network.output_shape),
            outputs_at_x=self.outputs_at_x,
            first_patterns=tuple(self.first),
            flips=Flips(flips.row, *wide),
            t_error=whole[-1] if bounded else None,
            certain=~self.uncertain if bounded else torch.zeros_like(self.uncertain),
            settled=torch.zeros_like(self.uncertain),
        )

    def _all_flips(self) -> Flips:
        if len(self.flips) < 2:
            return self.flips.pop() if self.flips else Flips.none(self.begun.device)
        self.flips[-1] = _condensed(self.flips[-1])
        flips = Flips.joined(self.flips)
        self.flips = []
        return flips

    def _arranged(self, segment: Tensor, flips: Flips) -> tuple[Tensor, Flips]:
        """The rows to keep, in order of segment and t, and the flips in order, with the places of their rows among these.

        A seam stands twice, as the last row of one stretch and the first of the next: the first row goes, and the other
        one too if nothing flips there.

        Args:
            segment: of each row, in the order in which stretches came.
        """
        seam = torch.zeros(self.count, dtype=torch.bool, device=segment.device)
        if self.seams:
            seam[_taken(self.seams, segment)] = True
        order = torch.argsort(segment, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(self.count, device=segment.device)
        flips = replace(flips, row=place[flips.row] - seam[flips.row].long()).ordered()
        segment, seam = segment[order], seam[order]
        kept = torch.zeros(self.count, dtype=torch.bool, device=segment.device)
        kept[flips.row] = True
        edge = segment.diff() != 0
        kept[1:] |= edge
        kept[:-1] |= edge
        kept[:1], kept[-1:] = True, True
        kept &= ~seam
        return order[kept], replace(flips, row=(kept.cumsum(0) - 1)[flips.row])


def _condensed(flips: Flips) -> Flips:
    """The same in half the memory: rows alone may need more than 31 bits."""
    small = (part.to(torch.int32) for part in (flips.gate, flips.unit, flips.before, flips.after))
    return Flips(flips.row, *small)


def _t_error(points: Points) -> Tensor:
    """A bound of how far each t is from the true one; 0 at the ends of a range, which are given."""
    rounding, shift = points.errors["position"], points.errors["shift"]
    unit = torch.finfo(rounding.dtype).eps
    given = (shift == 0) & (rounding == 0)
    if points.weight is None:
        return torch.where(given, 0.0, (rounding + shift) * (1 + 8 * unit))
    # On a ray t = position / weight and weight = 1 - |position|.
    weight, away = points.weight, rounding + shift
    stored = points.errors["weight"]
    room, left = weight - away - stored, weight - stored
    t = points.position / weight
    error = away / (weight * room) + (rounding + t.abs() * stored) / left + unit * t.abs()
    return torch.where(given, 0.0, torch.where(room > 0, error * (1 + 16 * unit), torch.inf))


def _taken(parts: list[Tensor], nothing: Tensor) -> Tensor:
    """All parts as one, or what stands for none; the list is emptied."""
    whole = torch.cat(parts) if len(parts) > 1 else (parts[0] if parts else nothing)
    parts.clear()
    return whole


def with_settled(paths: Paths, segments: list[int], settled: list[Settled]) -> Paths:
    """The paths with some segments replaced by what rational arithmetic says of them."""
    replaced = dict(zip(segments, settled))
    counts = paths.offsets.diff()
    chosen = torch.zeros(len(paths), dtype=torch.bool, device=counts.device)
    chosen[torch.tensor(segments, device=counts.device)] = True
    counts[chosen] = torch.tensor([len(replaced[i].position) for i in segments], device=counts.device)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    # The rows of the float walk that stay, in their new places; the rest is filled in segment by segment.
    stays = ~chosen.repeat_interleave(paths.offsets.diff())
    moved = stays.nonzero()[:, 0]
    owner = torch.bucketize(moved, paths.offsets[1:], right=True)
    target = moved - paths.offsets[owner] + offsets[owner]

    def rebuilt(old: Tensor, new: list[Tensor]) -> Tensor:
        result = old.new_empty(int(offsets[-1]), *old.shape[1:])
        result[target] = old[moved]
        for index, part in zip(segments, new):
            result[offsets[index] : offsets[index + 1]] = part
        return result

    weight = paths.weight
    position = rebuilt(paths.position, [s.position for s in settled])
    place = torch.zeros_like(stays, dtype=torch.int64)
    place[moved] = target
    kept = paths.flips[stays[paths.flips.row]]
    flips = [replace(kept, row=place[kept.row])]
    flips += [replace(s.flips, row=s.flips.row + offsets[index]) for index, s in replaced.items()]
    first = [pattern.clone() for pattern in paths.first_patterns]
    for index, part in replaced.items():
        for gate, pieces in enumerate(part.first):
            first[gate][index] = pieces
    rounding = torch.finfo(position.dtype).eps
    t_error = [torch.where(s.weight == 0, 0.0, rounding * s.position.abs()) for s in settled]
    return replace(
        paths,
        offsets=offsets,
        position=position,
        weight=None if weight is None else rebuilt(weight, [s.weight for s in settled]),
        values=rebuilt(paths.values, [s.values for s in settled]),
        first_patterns=tuple(first),
        flips=Flips.joined(flips).ordered(),
        t_error=None if paths.t_error is None else rebuilt(paths.t_error, t_error),
        certain=paths.certain | chosen,
        settled=paths.settled | chosen,
    )
