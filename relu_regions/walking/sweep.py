"""The walk: moves a batch of segments through the network's steps, gate by gate, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.backends import Placement, kernel_for
from relu_regions.backends.memory import budget, stack_bytes
from relu_regions.backends.points import Flips, Points
from relu_regions.backends.threads import each_on_one_thread, one_thread
from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.error_bounds import Certainty
from relu_regions.exactness.line_ties import LineTies
from relu_regions.exactness.shifts import Shifts
from relu_regions.exactness.whole_forms import AnyTies, FormTies, WholeForms, inserted, ties_of_forms
from relu_regions.network.chains import Chain
from relu_regions.network.gates import flattened
from relu_regions.network.network import Network
from relu_regions.network.plan import chains, folded, products
from relu_regions.network.steps import AffineStep, GateStep
from relu_regions.walking.multiples import Multiples
from relu_regions.walking.record import record_gate
from relu_regions.walking.segments import Segments
from relu_regions.walking.windows import Windows, gap_between_bends

__all__ = ["Sweep"]

Values = dict[str, Tensor]

# Bytes of the widest value of a stack that stay in the cache; larger stacks are cut by segments.
_BLOCK_BYTES = {"cpu": 8 << 20}
# Bytes of a stack for a chain, which cuts it into blocks itself: enough blocks for all threads.
_CHAIN_BYTES = {"cpu": 24 << 20}
# Two threads share out the steps before the first gate if their inputs take more bytes than this.
_WORTH_SHARING = 512 << 10
# After so many segments that a chain cannot take, the sweep uses chains no more.
_LEFT_TO_LINKS = 4
# Only what a first gate may cut into more windows than this goes window by window; else cutting costs more.
_WINDOWS = 4


class Sweep:
    """One pass over a batch of segments.

    Iterating gives finished ``Points``: stretches of segments with all their breakpoints and the outputs there.
    Stretches of one segment come in order of t. A segment can be dropped while the sweep runs: its remaining stretches
    are not computed.

    Args:
        network: float64 or float32, on the device of the segments.
        segments: the batch.
        record: whether to keep flips and patterns.
        memory_budget: bytes; None for a quarter of the free memory.
        certainty: carries error bounds along and marks segments in doubt; None to do without.
        window: how many intervals of a segment go on together after the first gate, doubling from stretch to stretch;
            None for all. To cut costs more than it saves where the first gate can't make many times as many.
    """

    def __init__(
        self,
        network: Network,
        segments: Segments,
        record: bool = True,
        memory_budget: int | None = None,
        window: int | None = None,
        certainty: Certainty | None = None,
    ) -> None:
        self._as_read = network
        self.network = network = folded(network)
        self.segments = segments
        self.record = record
        gates = network.gates
        most = gates[0].units * (gates[0].gate.piece_count - 1) if gates else 0
        self.window = window if window is not None and most > _WINDOWS * window else None
        self.certainty = certainty
        self.budget = budget(memory_budget, segments.x.device)
        self.dropped = torch.zeros(len(segments), dtype=torch.bool, device=segments.x.device)
        self._expected: float | None = None
        self._each: dict[int, float] = {}
        self._left = 0
        self._threads = torch.get_num_threads()
        self._windows = Windows(network.gate_numbers, self.budget, self.window)
        self._kernel = kernel_for(segments.x.device)
        self._ties: LineTies | None = None
        self._multiples = Multiples.of(network)
        self._first_gate = min(network.gate_numbers, default=len(network.steps))
        self._chains = chains(network) if certainty is None else certainty.chains
        self._forms = None
        if certainty is not None and segments.x.device.type == "cpu" and segments.x.dtype == torch.float64:
            self._forms = WholeForms.of(network)
        if self._kernel.through is None or self._forms is not None:
            self._chains = ()

    def drop(self, segments: Tensor) -> None:
        """Leave these segments (their numbers) out of the rest of the sweep."""
        self.dropped[segments] = True

    @property
    def halfway(self) -> bool:
        """Whether more may come of the segments that came last."""
        return bool(self._windows.waiting)

    def surroundings(self) -> AbstractContextManager[None]:
        """The context to iterate in.

        On a CPU the blocks of a chain are shared out among threads, and torch needs one in each; CUDA programs start on
        the device that is the current one.
        """
        device = self.segments.x.device
        if device.type == "cuda":
            current: AbstractContextManager[None] = torch.cuda.device(device)
            return current
        return one_thread() if self._starts_with_blocks else nullcontext()

    @property
    def _starts_with_blocks(self) -> bool:
        """Whether a chain comes first that cuts its stacks into blocks itself, as it does on a CPU."""
        on_cpu = self.segments.x.device.type == "cpu"
        return on_cpu and bool(self._chains) and self._chains[0].start == self._first_gate

    def __iter__(self) -> Iterator[Points]:
        start = 0
        while start < len(self.segments):
            stop = min(len(self.segments), start + self._block_size())
            self._windows.waiting = [self._start(start, stop)]
            found = 0
            while self._windows.waiting:
                points = self._without_dropped(self._windows.waiting.pop())
                if len(points.segments):
                    points = self._finish(points)
                    if self.certainty is not None:
                        self.certainty.finished(points)
                    found += len(points)
                    yield points
            self._expected = max(1.0, found / (stop - start))
            start = stop

    def _block_size(self) -> int:
        """How many segments go through the network together."""
        item, device = self.segments.x.element_size(), self.segments.x.device
        points = self._expected or 2.0 + self.network.units / 2
        if self._starts_with_blocks:
            # A chain works block by block; only what it starts from and what it leaves is held as a whole.
            numbers = points * (math.prod(self.network.output_shape) + 16)
            numbers += 4 * self.network.gates[0].units + math.prod(self.network.input_shape)
            most = _CHAIN_BYTES
        else:
            shapes = [step.shape for step in self.network.steps]
            numbers = points * max(math.prod(shape) for shape in [self.network.input_shape, *shapes])
            most = _BLOCK_BYTES
        return max(1, int(stack_bytes(self.budget // 8, most, device) / (item * numbers)))

    def _without_dropped(self, points: Points) -> Points:
        dropped = self.dropped[points.segments]
        return points.only(~dropped) if dropped.any() else points

    # ------------------------------------------------------------ the start of a block

    def _start(self, first: int, stop: int) -> Points:
        """The points that a block of segments starts from, taken to the first gate.

        Up to there the network is affine on the whole line, so it is evaluated at x and along d alone, whose
        coordinates are exact, and every start follows from these.
        """
        starts, device = self.segments.starts_of(first, stop), self.segments.x.device
        # Without its bias an affine map is linear: where all weights are 0.
        parts = ((starts.x, None), (starts.d, starts.d.new_zeros(len(starts.d))))
        shared = self._starts_with_blocks and starts.x.numel() * starts.x.element_size() > _WORTH_SHARING
        at_x, along = each_on_one_thread(lambda part: self._to_first_gate(*part), parts, self._threads if shared else 1)
        errors: Values = {}
        if self.certainty is not None:
            if can_tie(self._as_read) and self._forms is None:
                self._ties = LineTies(self._as_read, starts, first, self._ties)
            errors = self.certainty.start(*at_x, *along, starts)
        points = Points(
            segments=torch.arange(first, stop, device=device),
            offsets=starts.offsets,
            position=starts.position,
            weight=starts.weight,
            values={name: starts.of(value, along[0][name]) for name, value in at_x[0].items()},
            step=self._first_gate,
            flips=Flips.none(device),
            cut_before=torch.zeros(stop - first, dtype=torch.int64, device=device),
            uncertain=torch.zeros(stop - first, dtype=torch.bool, device=device),
            errors=errors,
        )
        if self._forms is not None:
            points.forms = self._forms.start(points, self.network, self._first_gate)
        return points

    def _to_first_gate(self, inputs: Tensor, weight: Tensor | None) -> tuple[Values, Values]:
        """The values that are needed from the first gate on, and bounds of their errors, for a stack of inputs."""
        values, errors = {self.network.input_name: inputs}, {}
        if self.certainty is not None:
            errors = {self.network.input_name: inputs.new_zeros(len(inputs))}
        for index in range(self._first_gate):
            self._affine(index, values, errors, weight, inputs)
        return values, errors

    # ------------------------------------------------------------ through the steps

    def _finish(self, points: Points) -> Points:
        """Take a stack of points to the network's end, leaving behind what must wait."""
        steps = self.network.steps
        while points.step < len(steps):
            step = steps[points.step]
            if self._needs(step, points) > self._allowance and len(points) > 2:
                points = self._windows.halved(points)
            elif isinstance(step, GateStep):
                points = self._chain_or_gate(step, points)
            else:
                self._affine(points.step, points.values, points.errors, points.weight)
                if self._forms is not None:
                    self._forms.through(step, points)
                points.step += 1
        return points

    def _chain_or_gate(self, step: GateStep, points: Points) -> Points:
        """Take the chain that starts here in one go if the backend can, else the gate alone.

        A stack that the chain cannot take is halved. A single segment that it cannot take goes gate by gate; after some
        of these, all others do too.
        """
        chain = next((found for chain in self._chains if (found := chain.after(points.step))), None)
        if chain is None:
            return self._gate(step, points)
        passed = self._through(chain, points)
        if passed is not None:
            return passed
        if len(points.segments) > 1:
            return self._windows.halved(points)
        self._left += 1
        if self._left == _LEFT_TO_LINKS:
            self._chains = ()
            torch.set_num_threads(self._threads)
        return self._gate(step, points)

    def _through(self, chain: Chain, points: Points) -> Points | None:
        """The points behind a chain, or behind its first link if windows are cut there; None if it cannot take them."""
        windowed = self.window is not None and self.network.gate_numbers[points.step] == 0
        if windowed:
            chain = chain.first()
        assert self._kernel.through is not None
        passed = self._kernel.through(
            chain, points, self.record, self.certainty is not None, self._allowance, self._each.get(chain.start),
            self._threads,
        )  # fmt: skip
        if passed is None:
            return None
        self._each[chain.start] = passed.each
        return self._windows.first_of(passed.points) if windowed else passed.points

    def _affine(
        self, index: int, values: Values, errors: Values, weight: Tensor | None, given: Tensor | None = None
    ) -> None:
        """Take values through an affine step, in their own memory if possible, but never in the memory of ``given``."""
        step = self.network.steps[index]
        assert isinstance(step, AffineStep)
        if self.certainty is not None:
            self.certainty.affine(step, values, errors)
        released = {name: values.pop(name) for name in self.network.releases[index]}
        inputs = [released[name] if name in released else values[name] for name in step.inputs]
        others = list(values.values()) if given is None else [*values.values(), given]
        if step.elementwise and step.inputs[0] in released and _alone(inputs[0], others):
            values[step.output] = step.overwrite(inputs[0], weight)
        else:
            values[step.output] = step(*inputs, weight=weight)
        for name in released:
            errors.pop(name, None)

    def _gate(self, step: GateStep, points: Points) -> Points:
        """Insert the gate's bends, then apply it."""
        number, gate = self.network.gate_numbers[points.step], step.gate
        name = step.inputs[0]
        inputs = flattened(points.values[name]).contiguous()
        ties: AnyTies | None = None
        if self._forms is not None:
            ties = ties_of_forms(self._forms, points, name, inputs)
            points.values[name] = inputs.view(points.values[name].shape)
        elif self._ties is not None and (ties := self._ties.at(points, name)) is not None:
            self._kernel.equalise(inputs, ties)
            points.values[name] = inputs.view(points.values[name].shape)
        starts = points.starts_interval
        bounded = self.certainty is not None
        equal = None if isinstance(ties, FormTies) else ties
        placed = self._kernel.place(gate, inputs, points.position, points.weight, starts, self.record, bounded, equal)
        if isinstance(ties, FormTies):
            placed, ties = ties.gathered(placed, points, inputs)
        if self._needs(step, points, len(placed)) > self._allowance:
            if len(points) > 2:
                return self._windows.halved(points)
            between = gap_between_bends(points, placed)
            if between is not None:
                return self._parted(points, between)
        if self.record:
            record_gate(number, step.gate, points, inputs, placed)
        errors: Values = {}
        shifts: Shifts | None = None
        if self.certainty is not None:
            shifts = self.certainty.gate(gate, points, name, inputs, placed, ties)
            errors = self.certainty.inserted(points, name, placed, shifts)
        released = name in self.network.releases[points.step]
        if released:
            del points.values[name]
        points = replace(self._inserted(points, placed), errors=errors)
        if isinstance(ties, FormTies):
            ties.note_bends(points, name, placed)
        elif self._multiples is not None:
            self._multiples.put_on_zero(step, points, placed)
        self._apply(step, points, inputs, placed, shifts)
        if released:
            errors.pop(name, None)
        if self.window is not None and number == 0:
            points = self._windows.first_of(points)
        return points

    def _apply(self, step: GateStep, points: Points, inputs: Tensor, placed: Placement, shifts: Shifts | None) -> None:
        """Apply the gate, together with a matrix or convolution that is the only reader of its output."""
        gate, name, following = step.gate, step.inputs[0], products(self.network).get(points.step)
        if following is None or self._forms is not None:
            outputs = self._kernel.bend(gate, inputs, points.weight, placed)
            points.values[step.output] = outputs.view(len(points), *step.shape)
            if self._forms is not None:
                # A unit that is 0 at both ends of an interval is inactive on it.
                active = outputs + outputs.roll(-1, 0) > 0
                points.forms[step.output] = points.forms[name] * active[:, None]
            if self.certainty is not None and shifts is not None:
                error = self.certainty.applied(gate, points.errors[name], outputs, placed, shifts)
                points.errors[step.output] = error
            points.step += 1
        else:
            outputs = self._kernel.bend_and_multiply(gate, inputs, points.weight, placed, following)
            points.values[following.output] = outputs
            if self.certainty is not None and shifts is not None:
                error = self.certainty.multiplied(gate, following, points.errors[name], placed, shifts)
                points.errors[following.output] = error
            points.step += 2

    def _inserted(self, points: Points, placed: Placement) -> Points:
        """The points with the new ones among them, every value interpolated."""
        added = torch.cat([placed.added.new_zeros(1), placed.added.cumsum(0)])
        return replace(
            points,
            offsets=points.offsets + added[points.offsets],
            position=self._kernel.insert(points.position, placed),
            weight=None if points.weight is None else self._kernel.insert(points.weight, placed),
            values={name: self._kernel.insert(value, placed) for name, value in points.values.items()},
            forms=inserted(points, placed),
        )

    # ------------------------------------------------------------ memory

    def _needs(self, step: AffineStep | GateStep, points: Points, rows: int | None = None) -> int:
        """Bytes that the step takes at its peak, with what the points hold already."""
        rows = len(points) if rows is None else rows
        if isinstance(step, AffineStep):
            width = step.workspace
        else:
            inputs, multiplied = points.values[step.inputs[0]][0].numel(), points.step in products(self.network)
            width = self._kernel.workspace(step.gate, step.units, inputs, multiplied)
        return points.bytes * rows // len(points) + rows * width * points.position.element_size()

    @property
    def _allowance(self) -> int:
        """Bytes that one stack of points may take."""
        return self._windows.allowance(self.segments.x.device)

    def _parted(self, points: Points, between: Placement) -> Points:
        """Cut the only interval at a new point; what lies beyond waits.

        So the bends of a gate need not all be inserted at once: each is a row of all the values.
        """
        errors = {} if self.certainty is None else self.certainty.cut(points, between)
        flips = replace(points.flips, row=between.old_rows[points.flips.row])
        return self._windows.halved(replace(self._inserted(points, between), errors=errors, flips=flips))


def _alone(value: Tensor, others: list[Tensor]) -> bool:
    """Whether a value's memory holds nothing but its own numbers, each once."""
    memory = value.untyped_storage().data_ptr()
    return value.is_contiguous() and all(other.untyped_storage().data_ptr() != memory for other in others)
