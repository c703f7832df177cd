"""What the network is on a region: activation patterns replayed, and the affine map W_x, b_x of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from relu_regions.backends.memory import budget, stack_bytes
from relu_regions.lines.line_batch import Array, Model, PointBatch
from relu_regions.lines.progress import Progress
from relu_regions.network.gates import Gate, Knots, Selection
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep, Step
from relu_regions.regions.patterns import activation_patterns

__all__ = ["Replay", "affine_map", "affine_maps_of", "block_size", "blocks", "device_of", "dtype_of", "slopes_of"]

# Smaller blocks of regions pay the overhead of each call more often, larger ones leave the processor's caches.
_BLOCK_BYTES = {"cpu": 32 << 20}


@dataclass(frozen=True)
class Replay:
    """A network with its gates held to the pieces of R activation patterns: R affine maps (paper, equation 7).

    Nothing here looks at a point, so nothing depends on which side of a boundary rounding puts one.

    Attributes:
        network: in the dtype of the results, on the patterns' device.
        patterns: for each gate ``(P, units)`` int64, the pieces.
        chosen: which of them, ``(R,)`` int64 in any order, or a slice; all by default.
    """

    network: Network
    patterns: tuple[Tensor, ...]
    chosen: Tensor | slice

    @classmethod
    def of(cls, network: Network, patterns: tuple[Tensor, ...], count: int = -1) -> Replay:
        """All of some patterns; how many there are need be given only where the network has no gates.

        Raises:
            ValueError: the patterns do not fit the network.
        """
        if count < 0:
            count = len(patterns[0]) if patterns else 1
        units = [step.units for step in network.gates]
        given = [tuple(pieces.shape) for pieces in patterns]
        if given != [(count, size) for size in units]:
            raise ValueError(
                f"The network has gates of {units} units, but the patterns have shapes {given}; "
                "give one (regions, units) tensor of pieces for each gate."
            )
        return cls(network, patterns, slice(0, count))

    def __len__(self) -> int:
        return self.chosen.stop - self.chosen.start if isinstance(self.chosen, slice) else len(self.chosen)

    def only(self, chosen: Tensor | slice) -> Replay:
        """Some of the patterns, by indices or slice; they keep their numbers."""
        return replace(self, chosen=chosen)

    def pieces(self, gate: int) -> Tensor:
        """``(R, units)`` int64, the pieces of a gate; they are picked only where a gate is come to."""
        return self.patterns[gate][self.chosen]

    # ------------------------------------------------------------ both directions

    def forward(self, values: Tensor, start: str, wanted: Collection[str], *, affine: bool) -> dict[str, Tensor]:
        """Carry values from one named value of the network to others.

        Args:
            values: k of them for each pattern, ``(R, k, *shape)``.
            start: the name of the value that they are; the network's input where affine.
            wanted: names of values to give back.
            affine: whether biases and offsets are added, or the linear part goes alone.

        Returns:
            For each wanted name ``(R, k, *shape)``; zeros where it does not depend on the start.
        """
        count, each = values.shape[:2]
        live = {start: values.flatten(0, 1)}
        found = {name: live[name] for name in wanted if name == start}
        for step, released in zip(self.network.steps, self.network.releases):
            if not live.keys().isdisjoint(step.inputs):
                inputs = [live[n] if n in live else self._zeros(values, n) for n in step.inputs]
                live[step.output] = self._apply(step, inputs, each, affine)
                if step.output in wanted:
                    found[step.output] = live[step.output]
            for name in released:
                live.pop(name, None)
        found |= {name: self._zeros(values, name) for name in wanted if name not in found}
        return {name: value.view(count, each, *self._shapes[name]) for name, value in found.items()}

    def backward(self, rows: Tensor, start: str, merge: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Carry rows of a matrix back from one named value to the network's input: the transposed linear parts.

        Args:
            rows: k of them for each pattern, ``(R, k, *shape)``.
            start: the name of the value that they act on.
            merge: a linear map from ``(R, k, *shape)`` to ``(S, k, *shape)``. What comes before the first gate is
                the same for every pattern, so there rows can be summed and go the rest of the way as one.

        Returns:
            ``(R, k, *input_shape)``, or ``(S, k, *input_shape)``.
        """
        count, each = rows.shape[:2]
        live = {start: rows.flatten(0, 1)}
        for index in range(len(self.network.steps) - 1, -1, -1):
            step = self.network.steps[index]
            if step.output in live:
                for name, part in zip(step.inputs, self._transposed(step, live.pop(step.output), each)):
                    live[name] = live[name] + part if name in live else part
            if merge is not None and index == self._first_gate:
                live = {n: merge(v.view(count, each, *v.shape[1:])).flatten(0, 1) for n, v in live.items()}
        if self.network.input_name not in live:
            live[self.network.input_name] = self._zeros(rows, self.network.input_name)
        result = live[self.network.input_name].view(-1, each, *self.network.input_shape)
        return merge(result) if merge is not None and self._first_gate < 0 else result

    def _apply(self, step: Step, inputs: list[Tensor], each: int, affine: bool) -> Tensor:
        if isinstance(step, AffineStep):
            return step(*inputs) if affine else step.linear(*inputs)
        pieces = self.pieces(self._gate_numbers[step.output])
        return _held(step.gate, pieces, inputs[0].reshape(len(pieces), each, -1), affine).reshape(-1, *step.shape)

    def _transposed(self, step: Step, rows: Tensor, each: int) -> Sequence[Tensor]:
        if isinstance(step, AffineStep):
            # Recorded at one point and mapped over the rows: the step itself never runs on as many.
            origin = [rows.new_zeros(1, *self._shapes[name]) for name in step.inputs]
            transposed = torch.func.vmap(torch.func.vjp(step.linear, *origin)[1])
            return [part[:, 0] for part in transposed(rows[:, None])]
        pieces, shape = self.pieces(self._gate_numbers[step.output]), self._shapes[step.inputs[0]]
        back = _held_transposed(step.gate, pieces, rows.reshape(len(pieces), each, -1), prod(shape))
        return [back.reshape(-1, *shape)]

    def _zeros(self, like: Tensor, name: str) -> Tensor:
        return like.new_zeros(like.shape[0] * like.shape[1], *self._shapes[name])

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a named value of the network."""
        return self._shapes[name]

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.network.input_name: self.network.input_shape} | {s.output: s.shape for s in self.network.steps}

    @cached_property
    def _gate_numbers(self) -> dict[str, int]:
        return {step.output: number for number, step in enumerate(self.network.gates)}

    @cached_property
    def _first_gate(self) -> int:
        return next((i for i, step in enumerate(self.network.steps) if isinstance(step, GateStep)), -1)

    # ------------------------------------------------------------ the maps

    def matrices(self) -> Tensor:
        """W of every pattern: ``(R, *output_shape, *input_shape)``."""
        outputs = self.network.output_shape
        identity = torch.eye(prod(outputs), dtype=dtype_of(self.network), device=self.device)
        rows = identity.view(1, -1, *outputs).expand(len(self), *[-1] * (len(outputs) + 1))
        return self.backward(rows, self.network.output_name).view(len(self), *outputs, *self.network.input_shape)

    def constants(self) -> Tensor:
        """b of every pattern, what it makes of the input zero: ``(R, *output_shape)``."""
        zero = torch.zeros(len(self), 1, *self.network.input_shape, dtype=dtype_of(self.network), device=self.device)
        name = self.network.output_name
        return self.forward(zero, self.network.input_name, [name], affine=True)[name][:, 0]

    @property
    def device(self) -> torch.device:
        """Where the patterns are."""
        return self.patterns[0].device if self.patterns else device_of(self.network)


def _held(gate: Gate, pieces: Tensor, values: Tensor, affine: bool) -> Tensor:
    """A gate on given pieces: ``(R, k, inputs)`` to ``(R, k, units)``; pieces ``(R, units)``."""
    if isinstance(gate, Selection):
        return values.gather(2, _winners(gate, pieces).unsqueeze(1).expand(-1, values.shape[1], -1))
    outputs = values * slopes_of(gate, pieces, values.dtype).unsqueeze(1)
    return outputs + _of_pieces(gate.offsets, pieces).unsqueeze(1) if affine and gate.offsets.any() else outputs


def _held_transposed(gate: Gate, pieces: Tensor, rows: Tensor, inputs: int) -> Tensor:
    """The transposed linear part of that: ``(R, k, units)`` to ``(R, k, inputs)``."""
    if isinstance(gate, Selection):
        winners = _winners(gate, pieces).unsqueeze(1).expand(-1, rows.shape[1], -1)
        return rows.new_zeros(*rows.shape[:2], inputs).scatter_add_(2, winners, rows)
    return rows * slopes_of(gate, pieces, rows.dtype).unsqueeze(1)


def slopes_of(gate: Knots, pieces: Tensor, dtype: torch.dtype) -> Tensor:
    """The slope of every unit on its piece: ``(R, units)``."""
    return pieces.to(dtype) if gate.is_relu else _of_pieces(gate.slopes, pieces)


def _of_pieces(numbers: Tensor, pieces: Tensor) -> Tensor:
    return numbers[:, 0][pieces] if numbers.shape[1] == 1 else numbers.gather(0, pieces)


def _winners(gate: Selection, pieces: Tensor) -> Tensor:
    """Positions of the inputs that the gate passes on: ``(R, units)``."""
    return gate.windows.gather(1, pieces.T).T


# ---------------------------------------------------------------- many regions


def affine_maps_of(
    network: Network,
    patterns: tuple[Int64[Tensor, " R _"], ...],
    count: int = -1,
    *,
    memory_budget: int | None = None,
    progress: bool | None = False,
) -> tuple[Float[Tensor, " R ..."], Float[Tensor, " R *output_shape"]]:
    """The affine map of the network on the regions of activation patterns (paper, equation 7).

    Args:
        network: in the dtype of the results, on the patterns' device.
        patterns: for each gate ``(R, units)`` int64, the piece of every unit.
        count: R; it need be given only where the network has no gates.
        memory_budget: bytes that the work may take besides its result; a quarter of the free memory by default.
        progress: whether to show a progress bar; None shows it where a person is looking and it takes long.

    Returns:
        W ``(R, *output_shape, *input_shape)`` and b ``(R, *output_shape)``: the network is ``W x + b`` there.

    Raises:
        ValueError: the patterns do not fit the network.
    """
    replay = Replay.of(network, patterns, count)
    empty = torch.empty(0, dtype=dtype_of(network), device=replay.device)
    matrices = empty.new_empty(len(replay), *network.output_shape, *network.input_shape)
    constants = empty.new_empty(len(replay), *network.output_shape)
    with torch.no_grad(), Progress(len(replay), "affine_maps", progress, "region") as bar:
        size = block_size(network, prod(network.output_shape), replay.device, memory_budget)
        for block in blocks(len(replay), size):
            bar.reach(block.start)
            matrices[block], constants[block] = replay.only(block).matrices(), replay.only(block).constants()
    return matrices, constants


def affine_map(
    model: Model, x: Float[Array, " N *shape"], *, dtype: torch.dtype = torch.float64, progress: bool | None = None
) -> tuple[Float[Tensor, " N ..."], Float[Tensor, " N *output_shape"]]:
    """The affine map of the network on the region of each point.

    A unit that is exactly on a knot at x counts as being on the piece below it (an undecided ReLU is inactive), and
    of several inputs that attain a maximum the first counts.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        dtype: of the computation, float64 or float32.
        progress: whether to show a progress bar; by default where a person is looking and it takes long.

    Returns:
        W ``(N, *output_shape, *input_shape)`` and b ``(N, *output_shape)``, on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be read; the text says why.
    """
    points = PointBatch.of(model, x, dtype)
    with torch.no_grad():
        return affine_maps_of(
            points.network, activation_patterns(points.network, points.x), len(points), progress=progress
        )


def block_size(network: Network, rows: int, device: torch.device, memory_budget: int | None, reach: int = 1) -> int:
    """How many patterns with so many rows each go through the network together.

    Args:
        reach: how many times the size that suits whole maps, where the budget allows it.
    """
    widest = max([prod(network.input_shape), *(_workspace(step) for step in network.steps)])
    fastest = {kind: size * reach for kind, size in _BLOCK_BYTES.items()}
    limit = stack_bytes(budget(memory_budget, device), fastest, device)
    # About three values of the network are alive at a time.
    return max(1, limit // (3 * rows * widest * torch.finfo(dtype_of(network)).bits // 8))


def blocks(count: int, size: int) -> Iterator[slice]:
    """0 to count in stretches of so many."""
    return (slice(start, min(count, start + size)) for start in range(0, count, size))


def _workspace(step: Step) -> int:
    return step.workspace if isinstance(step, AffineStep) else step.gate.workspace(step.units)


def dtype_of(network: Network) -> torch.dtype:
    """What a network's own numbers are in."""
    return _own_number(network).dtype


def device_of(network: Network) -> torch.device:
    """Where a network's own numbers are."""
    return _own_number(network).device


def _own_number(network: Network) -> Tensor:
    for step in network.steps:
        if isinstance(step, AffineStep):
            numbers = [tensor for tensor in (*step.constants, step.bias) if tensor is not None]
        else:
            numbers = [] if isinstance(step.gate, Selection) else [step.gate.slopes]
        if numbers:
            return numbers[0]
    return torch.zeros((), dtype=torch.float64)
