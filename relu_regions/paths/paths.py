"""What a walk found: the breakpoints of a batch of segments, and views of one segment and one region."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from relu_regions.backends.points import Flips
from relu_regions.exactness.stages import counted, decided_by
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array
from relu_regions.network.network import Network
from relu_regions.paths.norms_along import norms_along
from relu_regions.paths.region_table import RegionTable
from relu_regions.regions.affine_maps import affine_maps_of
from relu_regions.regions.norms import Norm, norms_of

__all__ = ["Path", "Paths", "Region"]


@dataclass(frozen=True)
class Paths:
    """The network along N segments: every breakpoint, the logits there, and the activation pattern of every region.

    Segment i has the points ``offsets[i]`` to ``offsets[i + 1]``: the lower end of its range, its breakpoints in
    order, and the upper end. Between two neighbouring points lies one region, on which every unit keeps its piece.

    Attributes:
        network: the network walked, in the dtype of the walk.
        x, d: ``(N, *input_shape)``.
        offsets: ``(N + 1,)`` int64.
        position, weight: ``(P,)``, a point lies at ``weight * x + position * d``; weight is None where all are 1, and
            is 0 at infinity.
        values: ``(P, *output_shape)``, the output at the points times their weight; at infinity its growth for each
            unit of t.
        outputs_at_x: ``(N, *output_shape)``.
        first_patterns: for each gate ``(N, units)``, the pieces in each segment's first region.
        t_error: ``(P,)``, a rigorous bound of how far each t is from the true one; None if not requested.
        certain: ``(N,)`` bool, whether breakpoints, order, flips and patterns are proven to be those of the real-valued
            network.
        settled: ``(N,)`` bool, the segments that rational arithmetic had to settle.
        judged: ``(N,)`` bool, the segments that the bounds of the walk left in doubt and the judge confirmed.
        digits: ``(N,)`` bool, those of them that took more digits than float64 has.
        flips: the units that change their piece, in order of point, gate and unit; ``flips.row`` is the point.
    """

    network: Network
    x: Float[Tensor, " N *input_shape"]
    d: Float[Tensor, " N *input_shape"]
    offsets: Int64[Tensor, " N+1"]
    position: Float[Tensor, " P"]
    weight: Float[Tensor, " P"] | None
    values: Float[Tensor, " P *output_shape"]
    outputs_at_x: Float[Tensor, " N *output_shape"]
    first_patterns: tuple[Int64[Tensor, " N _"], ...]
    flips: Flips
    t_error: Float[Tensor, " P"] | None
    certain: Bool[Tensor, " N"]
    settled: Bool[Tensor, " N"]
    judged: Bool[Tensor, " N"]
    digits: Bool[Tensor, " N"]

    @property
    def decided_by(self) -> list[str]:
        """What proved each segment: "bounds" of the walk, the "judge" in float64 or with more "digits", "rational"
        arithmetic, or "nothing".
        """
        return decided_by(self.certain, self.judged, self.digits, self.settled)

    @property
    def table(self) -> RegionTable:
        """Its regions, without the points and values."""
        return RegionTable(self.offsets, self.first_patterns, self.flips)

    @property
    def t(self) -> Float[Tensor, " P"]:
        """``(P,)``: both ends of each range and every breakpoint, in order."""
        return self.position if self.weight is None else self.position / self.weight

    @property
    def outputs(self) -> Float[Tensor, " P *output_shape"]:
        """``(P, *output_shape)``: the logits at the points; at infinite t their limits, infinite where they grow."""
        if self.weight is None:
            return self.values
        column = (-1, *[1] * (self.values.ndim - 1))
        at_infinity = (self.weight == 0).view(column)
        finite = self.values / torch.where(self.weight == 0, 1.0, self.weight).view(column)
        # An output that does not grow towards infinity keeps the value of the neighbouring point, or of x.
        rows = torch.arange(len(self.weight), device=self.weight.device)
        beside = torch.where(self.position < 0, rows + 1, rows - 1).clamp(0, len(rows) - 1)
        at_x = self.outputs_at_x.repeat_interleave(self.offsets.diff(), 0)
        constant = torch.where(at_infinity[beside], at_x, finite[beside])
        limits = torch.where(self.values == 0, constant, self.values.sign() * math.inf)
        return torch.where(at_infinity, limits, finite)

    @property
    def region_counts(self) -> Int64[Tensor, " N"]:
        """``(N,)`` int64: how many regions each segment crosses."""
        return self.table.counts

    @property
    def breakpoint_counts(self) -> Int64[Tensor, " N"]:
        """``(N,)`` int64: how many breakpoints each segment has inside its range."""
        return self.offsets.diff() - 2

    @property
    def region_offsets(self) -> Int64[Tensor, " {len(self)+1}"]:
        """``(N + 1,)`` int64: the regions of segment i are ``region_offsets[i]`` to ``region_offsets[i + 1]``."""
        return self.table.region_offsets

    @property
    def region_rows(self) -> Int64[Tensor, " R"]:
        """``(R,)`` int64: the row of the point that opens each region."""
        return self.table.opening_points(self.table.numbers())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Path:
        if not isinstance(index, int):
            raise TypeError(f"Paths are indexed by one integer, not {type(index).__name__}.")
        if not -len(self) <= index < len(self):
            raise IndexError(f"path {index} of {len(self)}")
        return Path(self, index % len(self))

    def __iter__(self) -> Iterator[Path]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        mean = float(self.breakpoint_counts.double().mean()) if len(self) else 0.0
        bends = f"{int(self.breakpoint_counts.sum())} breakpoints, {mean:.1f} on average"
        proven = f"; decided: {counted(self.decided_by)}" if self.t_error is not None else ""
        return f"Paths({len(self)} segment{'s' * (len(self) != 1)}, {bends}{proven})"

    def patterns(self, regions: Int64[Tensor, " R"] | None = None) -> tuple[Int64[Tensor, " R _"], ...]:
        """The activation patterns of regions, for each gate ``(R, units)`` int64: the piece of every unit.

        Args:
            regions: numbers of regions as in region_offsets, ``(R,)`` in increasing order; all by default.
        """
        return self.table.patterns(self.table.numbers() if regions is None else regions)

    def affine_maps(
        self, *, memory_budget: int | None = None, progress: bool | None = None
    ) -> tuple[Float[Tensor, " R ..."], Float[Tensor, " R *output_shape"]]:
        """W_x and b_x of every region (paper, equations 7 and 8), from its activation pattern.

        Args:
            memory_budget: bytes that the work may take besides its result.
            progress: whether to show a progress bar; by default where a person is looking and it takes long.

        Returns:
            ``(R, *output_shape, *input_shape)`` and ``(R, *output_shape)``.
        """
        count, patterns = len(self.region_rows), self.patterns()
        return affine_maps_of(self.network, patterns, count, memory_budget=memory_budget, progress=progress)

    def norms(self, p: Norm, *, memory_budget: int | None = None, progress: bool | None = None) -> Float[Tensor, " R"]:
        """The operator norm ‖W_x‖ of every region, ``(R,)``, without keeping the maps.

        Args:
            p: 1, 2, math.inf (the largest absolute row sum, paper, appendix A) or "fro".
            memory_budget: bytes that the work may take.
            progress: whether to show a progress bar; by default where a person is looking and it takes long.

        Raises:
            ValueError: p is none of these.
        """
        return norms_along(self.network, self.table, p, memory_budget=memory_budget, progress=progress)

    def numpy(self) -> dict[str, np.ndarray]:
        """t, outputs and offsets as numpy arrays, by name."""
        return {name: getattr(self, name).cpu().numpy() for name in ("t", "outputs", "offsets")}

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each point: segment, t, and one column for each logit (needs pandas)."""
        import pandas

        segment = torch.arange(len(self)).repeat_interleave(self.offsets.diff().cpu())
        columns = {"segment": segment.numpy(), "t": self.t.cpu().numpy()}
        logits = self.outputs.flatten(1).cpu().numpy()
        return pandas.DataFrame(columns | {f"logit_{k}": logits[:, k] for k in range(logits.shape[1])})


@dataclass(frozen=True)
class Path:
    """One segment of ``Paths``."""

    paths: Paths
    index: int

    @property
    def rows(self) -> slice:
        """Its rows among the points of all segments."""
        return slice(int(self.paths.offsets[self.index]), int(self.paths.offsets[self.index + 1]))

    @property
    def t(self) -> Float[Tensor, " P"]:
        """``(P,)``: both ends of the range and every breakpoint, in order."""
        return self.paths.t[self.rows]

    @property
    def breakpoints(self) -> Float[Tensor, " breakpoints"]:
        """``(P - 2,)``: the breakpoints alone."""
        return self.t[1:-1]

    @property
    def outputs(self) -> Float[Tensor, " P *output_shape"]:
        """``(P, *output_shape)``: the logits at the points."""
        return self.paths.outputs[self.rows]

    @property
    def certain(self) -> bool:
        """Whether breakpoints, order, flips and patterns are proven to be those of the real-valued network."""
        return bool(self.paths.certain[self.index])

    @property
    def decided_by(self) -> str:
        """What proved it: "bounds" of the walk, the "judge" in float64 or with more "digits", "rational" arithmetic, or
        "nothing".
        """
        return self.paths.decided_by[self.index]

    @property
    def flips(self) -> Flips:
        """The units that change their piece; ``flips.row`` counts this segment's points."""
        rows = self.rows
        inside = (self.paths.flips.row >= rows.start) & (self.paths.flips.row < rows.stop)
        flips = self.paths.flips[inside]
        return replace(flips, row=flips.row - rows.start)

    @property
    def regions(self) -> Sequence[Region]:
        """Its regions, in order."""
        return [Region(self, number) for number in range(len(self))]

    def __len__(self) -> int:
        return int(self.paths.region_counts[self.index])

    def norms(self, p: Norm) -> Float[Tensor, " R"]:
        """The operator norm ‖W_x‖ of its regions, ``(R,)``, as ``Paths.norms``."""
        start, stop = (int(self.paths.region_offsets[self.index + k]) for k in (0, 1))
        table = self.paths.table
        return norms_of(self.paths.network, table.patterns(table.numbers(start, stop)), p, stop - start)

    def outputs_at(self, t: Float[Array, " K"] | Sequence[float] | float) -> Float[Tensor, " K *output_shape"]:
        """The logits at any t of the range, by linear interpolation between breakpoints.

        Args:
            t: ``(K,)``, or one number; finite and within the range.

        Returns:
            ``(K, *output_shape)``, K being 1 for one number.

        Raises:
            ValueError: some t lies outside of the range or is not finite.
        """
        own, rows = self.t, self.rows
        given = torch.as_tensor(t, dtype=own.dtype, device=own.device)
        if not torch.isfinite(given).all() or (given < own[0]).any() or (given > own[-1]).any():
            raise ValueError(f"t must be finite and lie between {own[0].item()} and {own[-1].item()}.")
        here = torch.searchsorted(own, given, right=True).clamp(1, len(own) - 1) - 1
        if torch.isinf(own).all():  # an affine network on a whole line: no finite point but x
            at_x, growth = self.paths.outputs_at_x[self.index], self.paths.values[rows][1]
            return at_x + given.view(-1, *[1] * at_x.ndim) * growth
        position = self.paths.position[rows]
        weight = torch.ones_like(position) if self.paths.weight is None else self.paths.weight[rows]
        # The point weight * x + position * d is at t where its mixture of both ends has position = t * weight.
        left = position[here + 1] - given * weight[here + 1]
        right = given * weight[here] - position[here]
        scale = left * weight[here] + right * weight[here + 1]
        column = (-1, *[1] * (self.paths.values.ndim - 1))
        values = self.paths.values[rows]
        return (left / scale).view(column) * values[here] + (right / scale).view(column) * values[here + 1]

    def __repr__(self) -> str:
        return f"Path({len(self)} regions, t in [{self.t[0].item():.6g}, {self.t[-1].item():.6g}])"


@dataclass(frozen=True)
class Region:
    """One region that a segment crosses: an interval of t on which no unit changes its piece."""

    path: Path
    number: int

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of t; its ends may be infinite."""
        t = self.path.t
        return t[self.number].item(), t[self.number + 1].item()

    @property
    def row(self) -> int:
        """Its number among the regions of all segments."""
        return int(self.path.paths.region_offsets[self.path.index]) + self.number

    @property
    def pattern(self) -> tuple[Int64[Tensor, " _"], ...]:
        """The piece of every unit, for each gate ``(units,)`` int64."""
        own = torch.tensor([self.row], device=self.path.paths.offsets.device)
        return tuple(pieces[0] for pieces in self.path.paths.patterns(own))

    def affine_map(self) -> tuple[Float[Tensor, " ..."], Float[Tensor, " *output_shape"]]:
        """W_x ``(*output_shape, *input_shape)`` and b_x ``(*output_shape)``, from the activation pattern."""
        pattern = tuple(pieces[None] for pieces in self.pattern)
        weight, bias = affine_maps_of(self.path.paths.network, pattern, 1)
        return weight[0], bias[0]

    def norm(self, p: Norm) -> float:
        """The operator norm ‖W_x‖ for p in {1, 2, math.inf, "fro"}."""
        pattern = tuple(pieces[None] for pieces in self.pattern)
        return float(norms_of(self.path.paths.network, pattern, p, 1)[0])

    @property
    def interior(self) -> float:
        """A t inside: the middle, or one beyond the finite end of an unbounded region."""
        low, high = self.interval
        if math.isinf(low) and math.isinf(high):
            return 0.0
        if math.isinf(high):
            return low + max(1.0, abs(low))
        if math.isinf(low):
            return high - max(1.0, abs(high))
        return low / 2 + high / 2

    @property
    def label(self) -> int:
        """The class in the middle of the region; other classes may win nearer to its ends.

        Raises:
            ValueError: the network's output is no vector of logits.
        """
        decision = Decision.of(self.path.paths.network.output_shape)
        return int(decision.labels(self.path.outputs_at(torch.tensor([self.interior], dtype=torch.float64))))

    def __repr__(self) -> str:
        low, high = self.interval
        label = f", class {self.label}" if len(self.path.paths.network.output_shape) == 1 else ""
        return f"Region(t in [{low:.6g}, {high:.6g}]{label})"
