"""The region of an activation pattern as a polyhedron: membership, distances, facets, neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array, Model, PointBatch
from relu_regions.network.arrays import Floats
from relu_regions.network.gates import Maximum, OrderStatistic
from relu_regions.network.network import Network
from relu_regions.regions.affine_maps import Replay, affine_maps_of
from relu_regions.regions.class_change import ClassChange, nearest_change
from relu_regions.regions.halfspaces import Inequalities
from relu_regions.regions.largest_ball import largest_ball
from relu_regions.regions.linear_programs import RESOLUTION, TOO_ILL_SHAPED, LinearProgram
from relu_regions.regions.patterns import activation_patterns

__all__ = ["Polytope"]


@dataclass(frozen=True)
class Polytope:
    """A region: ``{x : matrix @ x <= bounds}``, with x flattened, its boundary included.

    What needs linear programs (chebyshev, facets, neighbour) holds to their resolution: it takes no
    notice of what is thinner than 1e-9 of the region's own size. Where a region is itself so thin that they can't
    answer, they raise a ValueError; directions in which the rows differ by no more than rounding are taken for
    unbounded.

    Attributes:
        network: in float64, on the pattern's device.
        pattern: for each gate ``(units,)`` int64, the pieces.
        inequalities: with what bends across each of them; those that hold anyway are among them.
    """

    network: Network
    pattern: tuple[Int64[Tensor, " _"], ...]
    inequalities: Inequalities

    @classmethod
    def of_pattern(cls, network: Network, pattern: tuple[Int64[Tensor, " _"], ...]) -> Polytope:
        """The region of an activation pattern; it may be empty.

        Args:
            network: any dtype; float64 is used.
            pattern: for each gate ``(units,)`` int64.

        Raises:
            ValueError: the pattern does not fit the network.
            UnsupportedOperation: the network has order statistics, of which a pattern does not say enough.
        """
        network = network.to(torch.float64, pattern[0].device if pattern else torch.device("cpu"))
        with torch.no_grad():
            return cls(network, pattern, Inequalities.of_pattern(network, pattern))

    @classmethod
    def at(cls, model: Model, x: Float[Array, " *input_shape"]) -> Polytope:
        """The region of a point; a unit exactly on a knot counts as on the piece below it.

        Of a network that sorts numbers it is the part of it around the point: what is above the input of a rank stays
        above it, and what is below stays below.

        Args:
            model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified.
            x: one point, ``(*input_shape)``, tensor or array of floats.

        Raises:
            TypeError, ValueError, UnsupportedOperation: what was given cannot be read; the text says why.
        """
        point = PointBatch.of(model, x[None])
        with torch.no_grad():
            network = point.network.to(torch.float64, point.x.device)
            pattern = tuple(pieces[0] for pieces in activation_patterns(point.network, point.x))
            return cls(network, pattern, Inequalities.of_pattern(network, pattern, point.x[0].double()))

    @property
    def matrix(self) -> Float64[Tensor, " m n"]:
        """``(m, n)`` float64."""
        return self.inequalities.matrix

    @property
    def bounds(self) -> Float64[Tensor, " m"]:
        """``(m,)`` float64."""
        return self.inequalities.bounds

    def __len__(self) -> int:
        return len(self.inequalities)

    def __repr__(self) -> str:
        return f"Polytope({len(self)} inequalities in {self.matrix.shape[1]} dimensions)"

    # ------------------------------------------------------------ points

    def contains(self, x: Float[Array, " N *input_shape"]) -> Bool[Tensor, " N"]:
        """Whether points satisfy every inequality, in float64: ``(N, *input_shape)`` to ``(N,)`` bool."""
        return (self.slack(x) >= 0).all(1)

    def slack(self, x: Float[Array, " N *input_shape"]) -> Float64[Tensor, " N m"]:
        """``bounds - matrix @ x``, what each inequality has left: ``(N, *input_shape)`` to ``(N, m)``.

        Raises:
            ValueError: x has another shape.
        """
        points = torch.as_tensor(x).to(self.matrix)
        if tuple(points.shape[1:]) != self.network.input_shape:
            raise ValueError(
                f"x has shape {tuple(points.shape)}, but must be a batch of points (N, *{self.network.input_shape})."
            )
        return self.bounds - points.flatten(1) @ self.matrix.T

    def distance(self, x: Float[Array, " N *input_shape"], p: float = 2) -> Float64[Tensor, " N"]:
        """How far points inside are from the boundary, in the p-norm.

        Args:
            x: ``(N, *input_shape)``.
            p: 1, 2 or inf.

        Returns:
            ``(N,)``; inf where there is no boundary.

        Raises:
            ValueError: some point lies outside, or p is no known norm.
        """
        slack, lengths = self.slack(x), self._lengths(p)
        outside = (slack < 0).any(1)
        if outside.any():
            row = int(outside.nonzero()[0])
            raise ValueError(
                f"x lies outside of the region in {int(outside.sum())} of {len(slack)} rows (first: {row}); "
                "Polytope.at gives the region of a point."
            )
        ratios = torch.where(lengths > 0, slack / lengths, math.inf)
        return torch.cat([ratios, ratios.new_full((len(slack), 1), math.inf)], 1).amin(1)

    def _lengths(self, p: float) -> Tensor:
        """Of the rows, in the norm dual to p: what a step of length 1 can change at most."""
        dual = {1: math.inf, 2: 2, math.inf: 1}
        if isinstance(p, bool) or p not in dual:
            raise ValueError(f"p must be 1, 2 or math.inf, not {p!r}.")
        lengths: Tensor = torch.linalg.vector_norm(self.matrix, dual[p], dim=1)
        return lengths

    # ------------------------------------------------------------ shape

    def chebyshev(self, p: float = 2) -> tuple[Float64[Tensor, " *input_shape"], float]:
        """The centre and radius of the largest ball inside, in the p-norm.

        Args:
            p: 1, 2 or inf.

        Returns:
            A point ``(*input_shape)``, and the radius. Where balls of every size fit, the radius is inf, and the
            centre that of a ball of radius 1.

        Raises:
            ValueError: the region has no interior, or is too ill-shaped for float64; or p is no known norm.
        """
        basis, rows, bounds, scale = self._reduced
        lengths = self._lengths(p).cpu().numpy() / scale
        centre, radius = largest_ball(rows, lengths, bounds)
        return torch.from_numpy(basis @ centre).to(self.matrix).view(self.network.input_shape), radius

    @cached_property
    def _reduced(self) -> tuple[Floats, Floats, Floats, Floats]:
        """An orthonormal basis ``(n, r)`` of what the rows span, rows of length 1 in it ``(m, r)``, bounds, and scale.

        A network sees its input through its first layer alone, so r may be far below n. Singular values that rounding
        can have made are left out, as numpy's matrix_rank does.
        """
        matrix, bounds = self.matrix.cpu().numpy(), self.bounds.cpu().numpy()
        scale = np.linalg.norm(matrix, axis=1)
        scale[scale == 0] = 1
        left, values, right = np.linalg.svd(matrix / scale[:, None], full_matrices=False)
        rank = int((values > values.max(initial=0) * max(matrix.shape) * np.finfo(np.float64).eps).sum())
        return right[:rank].T, left[:, :rank] * values[:rank], bounds / scale, scale

    @cached_property
    def _polar(self) -> Floats:
        """The inequalities as ``rows @ v <= 1``, v being 0 at the Chebyshev centre: all of one scale, ``(m, r)``."""
        basis, rows, bounds, _ = self._reduced
        centre, radius = self.chebyshev()
        slack = bounds - rows @ (basis.T @ centre.flatten().cpu().numpy())
        polar: Floats = rows * (radius if math.isfinite(radius) else 1.0) / slack[:, None]
        return polar

    @cached_property
    def facets(self) -> Int64[Tensor, " F"]:
        """The inequalities that cannot be left out, ``(F,)`` int64 in increasing order; of equal ones the last.

        Raises:
            ValueError: the region has no interior.
        """
        polar = self._polar
        products = polar @ polar.T
        own = products.diagonal().copy()
        np.fill_diagonal(products, -math.inf)
        # From the centre straight to its own hyperplane: where no other is met before, there is a facet.
        kept = (own > 0) & (own > products.max(1, initial=-math.inf) * (1 + RESOLUTION))
        if kept.all():
            return torch.arange(len(kept), device=self.bounds.device)
        # In coordinates in which the region is about as long in all directions, linear programs see all of it.
        round_rows, lengths, _ = np.linalg.svd(polar, full_matrices=False)
        if lengths.min(initial=1.0) < RESOLUTION * lengths.max(initial=1.0):
            raise ValueError(TOO_ILL_SHAPED)
        program = LinearProgram(round_rows, np.ones(len(polar)))
        for row in np.flatnonzero(~kept).tolist():
            program.bound(row, 2.0)
            kept[row] = program.maximize(round_rows[row])[0] > 1 + RESOLUTION
            program.bound(row, 1.0 if kept[row] else math.inf)
        return torch.from_numpy(np.flatnonzero(kept)).to(self.bounds.device)

    def neighbour(self, row: int) -> tuple[Int64[Tensor, " _"], ...]:
        """The pattern across a facet.

        Where several units bend on the same hyperplane, each gets the piece that it has beyond.

        Args:
            row: of the inequality that the facet belongs to.

        Returns:
            For each gate ``(units,)`` int64.

        Raises:
            IndexError: there is no such inequality.
            ValueError: it is a side of a box, or the region has no interior.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"inequality {row} of {len(self)}")
        if self.inequalities.gate[row] < 0:
            raise ValueError(f"Inequality {row} is a side of a box; the network does not bend there.")
        apart = np.abs(self._polar - self._polar[row]).max(1)
        tied = torch.from_numpy(np.flatnonzero(apart <= RESOLUTION * np.abs(self._polar[row]).max()))
        bending = self.inequalities[tied.to(self.bounds.device)]
        normal = self.matrix[row].view(1, 1, *self.network.input_shape)
        pattern = tuple(pieces.clone() for pieces in self.pattern)
        for number in sorted(set(bending.gate.tolist()) - {-1}):
            name = self.network.gates[number].inputs[0]
            replay = Replay.of(self.network, tuple(pieces[None] for pieces in pattern), 1)
            slopes = replay.forward(normal, self.network.input_name, [name], affine=False)[name].view(-1)
            self._cross(bending[bending.gate == number], slopes, pattern[number])
        return pattern

    def _cross(self, bending: Inequalities, slopes: Tensor, pieces: Tensor) -> None:
        """Give units of one gate that are on a bend the pieces they get where their inputs change at these slopes."""
        gate = self.network.gates[int(bending.gate[0])].gate
        for unit in set(bending.unit.tolist()):
            own = pieces[unit : unit + 1]
            rivals = torch.cat([own, bending.piece[bending.unit == unit]]).sort().values
            if isinstance(gate, Maximum):
                pieces[unit] = rivals[slopes[gate.windows[unit, rivals]].argmax()]
            elif isinstance(gate, OrderStatistic):
                # Those that are above it on this side grow more slowly, so they are below it beyond.
                growth = slopes[gate.windows[unit, rivals]]
                place = (growth < slopes[gate.windows[unit, own]]).sum()
                pieces[unit] = rivals[growth.argsort(descending=True, stable=True)[place]]
            else:
                pieces[unit] = rivals[-1] if slopes[unit] > 0 else rivals[0]

    def within(self, low: float | Float[Array, " ..."], high: float | Float[Array, " ..."]) -> Polytope:
        """The part of the region inside an input box, such as the range of pixels.

        Args:
            low: lower sides, a number or anything that broadcasts to input_shape; infinite where there is no side.
            high: upper sides, likewise.

        Raises:
            ValueError: low is not below high.
        """
        sides = (torch.as_tensor(side, dtype=torch.float64, device=self.bounds.device) for side in (low, high))
        lower, upper = (side.expand(self.network.input_shape).reshape(-1) for side in sides)
        if not (lower < upper).all():
            raise ValueError("The box is empty: low must be below high everywhere.")
        identity = torch.eye(len(lower), dtype=torch.float64, device=lower.device)
        parts = [self.inequalities, Inequalities.box(-identity, -lower, 0), Inequalities.box(identity, upper, 1)]
        return replace(self, inequalities=Inequalities.joined(parts))

    # ------------------------------------------------------------ the class

    def smallest_change(self, x: Float[Array, " *input_shape"], p: float = math.inf) -> ClassChange | None:
        """The smallest change of a point after which another class is as likely, inside the region.

        Outside of the region there may be a smaller one. Each class that could be nearer than the best so far is a
        convex problem of its own, which cvxpy gives to Clarabel. `ClassChange` says what is certain.

        Args:
            x: one point of the region, ``(*input_shape)``.
            p: 1, 2 or inf, the norm of the change.

        Returns:
            None where one class is ahead in the whole region, as both Clarabel and HiGHS say; that is not proven.

        Raises:
            ValueError: x lies outside of the region, the network's output is no vector of logits, p is no known norm,
                or the region is too ill-shaped for float64.
        """
        lengths = self._lengths(p)
        point = torch.as_tensor(x).to(self.matrix)
        slack = self.slack(point[None])[0]
        if (slack < 0).any():
            raise ValueError("x lies outside of the region; Polytope.at gives the region of a point.")
        gradients, logits = self._logits_at(point)
        label = int(logits.argmax())
        behind, slopes = logits[label] - logits, gradients - gradients[label]
        matrix, room = self.matrix.cpu().numpy(), slack.cpu().numpy()
        found = nearest_change(matrix, room, slopes.cpu().numpy(), behind.cpu().numpy(), label, p)
        if found is None:
            return None
        there = point + torch.from_numpy(found.move).to(point).view(point.shape)
        # Of the point itself, and by the network's own forward pass: nothing of the solver's.
        beyond = (-self.slack(there[None])[0] / lengths)[lengths > 0].tolist()
        logits = self._decision.logits(self.network(there[None]))[0]
        untied = abs(logits[label] - logits[found.label]).item() / found.steepness
        return ClassChange(found.distance, there, found.label, found.at_least, max(0.0, untied, *beyond))

    @property
    def _decision(self) -> Decision:
        return Decision.of(self.network.output_shape)

    def _logits_at(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """The logits' map ``(C, n)``, and the logits ``(C,)``."""
        decision = self._decision
        maps = affine_maps_of(self.network, tuple(pieces[None] for pieces in self.pattern), 1)
        matrix = maps[0].view(decision.outputs, -1)
        outputs = matrix @ point.flatten() + maps[1][0]
        return decision.logits(matrix.T).T, decision.logits(outputs[None])[0]
