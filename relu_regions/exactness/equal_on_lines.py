"""Numbers that are equal on a line by construction, as equal patches of an image under one kernel are.

Rounding can't tell such a tie from a close call, and a library's convolution may round equal patches differently. So
this file finds, for each line x + t d, which numbers are equal: pixels with equal x and equal d to begin with; then
outputs that equal coefficients make of equal inputs; equal units behind a gate; maxima of equal inputs. What is equal
at every t is not all: pixels may be equal at x alone, and where x is blank on two patches, that is how a maximum ties
at t = 0. The same argument holds at any one point, and at infinity, where values grow as the network without biases
and knots makes them of d. So there are four *kinds* of table for each line: everywhere on it, at t = 0, at t = 1, and
at infinity; and one for each place where patches of an image meet (`relu_regions.exactness.meeting_points`).

No computed value of the network is compared. A table has for every number the first number that it is equal to, or -1
where it is 0. Tuples of these are compared by sums with random factors first, and those that agree then one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from relu_regions.exactness.equal_inputs import AT_INFINITY, KINDS, bits, firsts, of_inputs, of_meetings
from relu_regions.exactness.equal_rows import classes
from relu_regions.exactness.meeting_points import Meetings
from relu_regions.network.equal_grids import Grid, full
from relu_regions.network.gates import Knots, Maximum
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, Convolution, GateStep, Matrix
from relu_regions.network.taking import keeps_order, places_read

__all__ = ["EqualThrough", "equal_everywhere", "equal_on_lines", "pads_patches"]

# Numbers of tuples that are compared at once.
_BLOCK_NUMBERS = 1 << 22


def equal_on_lines(
    network: Network, x: Tensor, d: Tensor, meetings: Meetings | None = None, asked: Tensor | None = None
) -> dict[str, Tensor | Grid]:
    """What is equal on some lines, of the values that gates read, by name; those without ties are left out.

    Args:
        network: as it was read: a folded batch norm has coefficients of its own, which may be equal by rounding.
        x, d: ``(L, *input_shape)``.
        meetings: of these lines.
        asked: the numbers of the tables that are of use; None for all of them, ``(KINDS * L + meetings,)``.

    Returns:
        For each number the first that it is equal to, -1 where it is 0: ``(tables, numbers)`` int64, on the CPU, or a
        grid that says so. Of all tables kind by kind, and then the meetings.
    """
    x, d = (part.detach().cpu().double().flatten(1) for part in (x, d))
    bare, inputs = torch.arange(KINDS).repeat_interleave(len(x)) == AT_INFINITY, of_inputs(x, d)
    if meetings is not None and meetings.pairs:
        inputs = torch.cat([inputs, of_meetings(inputs, meetings)])
        bare = torch.cat([bare, torch.zeros(len(meetings.pairs), dtype=torch.bool)])
    if asked is not None:
        bare, inputs = bare[asked], inputs[asked]
    # Of numbers that all differ only what is equal everywhere is equal, but for patches of nothing but padding.
    if bool((inputs == torch.arange(inputs.shape[1])).all()) and not pads_patches(network):
        return {name: first.expand(len(bare), -1) for name, first in equal_everywhere(network).items()}
    return EqualThrough(network, bare).through(inputs)


def pads_patches(network: Network) -> bool:
    """Whether patches may lie in the padding as a whole."""
    for step in network.steps:
        if isinstance(step, AffineStep) and isinstance(step.form, Convolution):
            form = step.form
            reach = [(size - 1) * wide + 1 for size, wide in zip(form.kernel, form.dilation)]
            if any(pad >= most for pad, most in zip(form.padding, reach)):
                return True
        elif "pad" in step.origin.operation:
            return True
    return False


def equal_everywhere(network: Network) -> dict[str, Tensor]:
    """The same whatever the line: what equal rows of coefficients make; ``(1, numbers)`` each."""
    everywhere = EqualThrough(network, torch.zeros(1, dtype=torch.bool))
    return network.derived(
        "equal everywhere", lambda: {name: full(first) for name, first in everywhere.through(None).items()}
    )


def _factors(count: int, largest: int) -> Tensor:
    """Random whole numbers; sums of so many products with numbers up to the largest are exact in float64."""
    most = max(2, 2**53 // (max(1, count) * (largest + 2)))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, min(most, 2**24), (count,), generator=generator).double()


def _where_same(first: Tensor, same: Callable[[Tensor, Tensor, Tensor], Tensor], size: int) -> Tensor:
    """Places that share a sum: those whose tuples differ nevertheless become firsts of their own.

    Args:
        same: whether the tuples of a row at two places are equal: rows and places, ``(S,)`` each, to ``(S,)`` bool.
        size: of a tuple.
    """
    own = torch.arange(first.shape[1])
    row, place = (first != own).nonzero(as_tuple=True)
    block = max(1, _BLOCK_NUMBERS // max(1, size))
    for start in range(0, len(row), block):
        chosen = slice(start, start + block)
        rows, places = row[chosen], place[chosen]
        equal = same(rows, places, first[rows, places])
        first[rows[~equal], places[~equal]] = places[~equal]
    return first


def _of_tuples(tuples: Tensor, kind: Tensor | None = None) -> Tensor:
    """The first equal tuples, ``(M, n)`` from ``(M, n, k)`` firsts; -1 where all of a tuple is 0.

    Args:
        kind: tuples of different kinds are not equal, ``(n,)`` int64.
    """
    count = tuples.shape[2]
    kind = torch.zeros(tuples.shape[1], dtype=torch.int64) if kind is None else kind
    largest = max(int(part.max()) if part.numel() else 0 for part in (tuples, kind))
    *factors, last = _factors(count + 1, largest)
    first = firsts(bits((tuples + 1).double() @ torch.stack(factors) + last * kind))
    first = _where_same(
        first, lambda row, a, b: (tuples[row, a] == tuples[row, b]).all(1) & (kind[a] == kind[b]), count
    )
    return first.masked_fill((tuples < 0).all(2), -1)


class _Reads(NamedTuple):
    """What a step reads whose outputs read one number of each input at most.

    Attributes:
        places: for each input which number every output reads, -1 for none, ``(n,)`` int64.
        kind: outputs with other coefficients are of other kinds, ``(n,)`` int64.
        place: the same as places where only one input is read, counted over all inputs.
        back: for each number of all inputs the first output that reads it, -1 for none; None if some output reads
            several.
    """

    places: list[Tensor]
    kind: Tensor
    place: Tensor
    back: Tensor | None

    @property
    def in_order(self) -> int | None:
        """How many outputs that read nothing stand before those that read the only input in order; None for others."""
        if self.back is None:
            return None
        front, count = int((self.place < 0).sum()), len(self.back)
        own = torch.cat([torch.full((front,), -1), torch.arange(count)])
        return front if torch.equal(self.place, own) else None

    @classmethod
    def of(cls, step: AffineStep, shapes: list[tuple[int, ...]]) -> _Reads | None:
        """None if an output reads several numbers of an input."""
        places, columns = [], []
        for number in range(len(shapes)):
            place = places_read(step, shapes, [number])
            if place is None:
                return None
            like = step.constants[0] if step.constants else torch.zeros(0, dtype=torch.float64)
            ones = [like.new_zeros(1, *other) for other in shapes]
            ones[number] = torch.ones_like(ones[number])
            places.append(place)
            columns.append(step.linear(*ones).reshape(-1).cpu().double())
        sizes = [math.prod(shape) for shape in shapes]
        place = torch.full_like(places[0], -1)
        for own, start in zip(places, accumulate(sizes[:-1], initial=0)):
            place = torch.where(own < 0, place, own + start)
        back = None
        if bool((torch.stack([own >= 0 for own in places]).sum(0) <= 1).all()):
            outputs, reading = torch.arange(len(place)), place >= 0
            back = torch.full((sum(sizes),), len(place))
            back = back.scatter_reduce(0, place[reading], outputs[reading], "amin")
            back = back.masked_fill(back == len(place), -1)
        return cls(places, classes(torch.stack([*columns, *(own < 0 for own in places)], 1).double()), place, back)


def _is_plain(first: Tensor | Grid | None) -> bool:
    """Whether all numbers differ, as far as is known."""
    if first is None or isinstance(first, Grid):
        return first is None or first.is_plain
    return bool((first == torch.arange(first.shape[1])).all())


class EqualThrough:
    """Goes through the steps of a network with the first equal number of each; None where all differ.

    Args:
        bare: which tables are about the network without biases, ``(M,)`` bool.
    """

    def __init__(self, network: Network, bare: Tensor) -> None:
        self.network, self.bare = network, bare

    def through(self, inputs: Tensor | None) -> dict[str, Tensor | Grid]:
        """The firsts of the values that gates read."""
        network = self.network
        found: dict[str, Tensor | Grid] = {}
        values: dict[str, Tensor | Grid | None] = {network.input_name: inputs}
        for step, released in zip(network.steps, network.releases):
            read = [values[name] for name in step.inputs]
            if isinstance(step, AffineStep):
                made = self._affine(step, read)
            else:
                if (told := read[0]) is not None:
                    found[step.inputs[0]] = told
                made = self._gate(step, read[0])
            values[step.output] = None if _is_plain(made) else made
            for name in released:
                del values[name]
        return found

    def _gate(self, step: GateStep, read: Tensor | Grid | None) -> Tensor | Grid | None:
        gate = step.gate
        if read is None:
            return None
        if isinstance(gate, Maximum):
            if isinstance(read, Grid):
                windows = read.windows(gate.windows.cpu())
                if windows is not None:
                    return Grid(0, read.channels, _of_tuples(read.with_front()[:, windows]))
                read = read.full()
            return _of_tuples(read[:, gate.windows.cpu()])
        if not isinstance(gate, Knots):
            return None
        if max(part.shape[1] for part in gate.parts) > 1:
            units = step.units
            columns = torch.cat([part.expand(-1, units) for part in gate.parts]).cpu().T
            kind = self.network.derived(("equal knots", step.output), lambda: classes(columns))
            if not isinstance(read, Grid) or not read.are_alike(kind):
                read = self._apart(full(read), kind)
        zero = gate.apply(torch.zeros(1, step.units, dtype=torch.float64, device=gate.knots.device))[0].cpu()
        return self._shifted(read, zero, step.output)

    def _affine(self, step: AffineStep, read: list[Tensor | Grid | None]) -> Tensor | Grid | None:
        shapes = [self.network.shapes[name] for name in step.inputs]
        made: Tensor | Grid | None
        if isinstance(step.form, Matrix):
            made = self._matrix(step, read[0])
        elif isinstance(step.form, Convolution):
            made = self._convolution(step, step.form, read[0])
        elif all(part is None for part in read) or step.terms > len(read):
            made = None
        elif keeps_order(step, shapes[0]) and len(read) == 1:
            return read[0]
        else:
            made = self._elementwise(step, shapes, read)
        if made is None or step.bias is None:
            return made
        return self._shifted(made, step.bias.cpu().double().expand(1, *step.shape).reshape(-1), step.output)

    def _matrix(self, step: AffineStep, read: Tensor | Grid | None) -> Tensor:
        rows = [step.constants[0].cpu()]
        if step.bias is not None:
            rows.append(step.bias.cpu().expand(1, len(rows[0])).T)
        equal = self.network.derived(("equal rows", step.output), lambda: firsts(classes(*rows)[None]))
        first = equal.expand(len(self.bare), -1).clone()
        if read is not None:
            places = read.first if isinstance(read, Grid) else read
            first[(places < 0).all(1)] = -1
        return first

    def _convolution(self, step: AffineStep, form: Convolution, read: Tensor | Grid | None) -> Tensor | Grid:
        """Equal patches under equal kernels; patches of all groups of channels together, so that there is one table."""
        kernel, outputs = step.constants[0].cpu().flatten(1), form.outputs
        group = torch.arange(len(kernel)) // max(1, len(kernel) // form.groups)
        details = [kernel, group[:, None].to(kernel)]
        if step.bias is not None and step.bias.numel() == len(kernel):
            details.append(step.bias.cpu().view(-1, 1))
        channel = self.network.derived(("equal rows", step.output), lambda: firsts(classes(*details)[None]))[0]
        places = math.prod(outputs[1:])
        place = torch.arange(places)[None] if read is None else self._patches(form, read)
        if bool((channel == torch.arange(len(channel))).all()):
            return Grid(0, len(channel), place.expand(len(self.bare), -1))
        first = channel[:, None] * places + place[:, None, :].clamp_min(0)
        first = torch.where(place[:, None, :] < 0, -1, first)
        return first.expand(len(self.bare), -1, -1).flatten(1)

    def _patches(self, form: Convolution, read: Tensor | Grid) -> Tensor:
        """The first equal patches, ``(M, places)``; -1 for those that are 0."""
        if isinstance(read, Grid) and (read.front or read.channels != form.inputs[0]):
            read = read.full()
        # Patches of channels that are alike are equal where those of one are.
        table = read.first if isinstance(read, Grid) else read
        ids = (table + 1).view(len(table), -1, *form.inputs[1:])
        rank = len(form.kernel)
        sizes = zip(form.inputs[1:], form.outputs[1:], form.kernel, form.stride, form.padding, form.dilation)
        pads = [
            (pad, max(0, (out - 1) * by + (k - 1) * wide + 1 - size - pad)) for size, out, k, by, pad, wide in sizes
        ]
        ids = functional.pad(ids, [number for pair in reversed(pads) for number in pair])
        # Places in a padded input, counted over all channels: where a patch starts, and what it holds from there.
        lengths = ids.shape[1:]
        steps = [math.prod(lengths[axis + 1 :]) for axis in range(rank + 1)]
        starts, offsets = torch.zeros(1, dtype=torch.int64), torch.arange(lengths[0]) * steps[0]
        for axis in range(rank):
            across = torch.arange(form.outputs[1 + axis]) * form.stride[axis] * steps[1 + axis]
            within = torch.arange(form.kernel[axis]) * form.dilation[axis] * steps[1 + axis]
            starts, offsets = ((a[:, None] + b).flatten() for a, b in ((starts, across), (offsets, within)))
        factors = _factors(len(offsets), int(ids.max()) if ids.numel() else 0)
        weights, flat = factors.view(1, lengths[0], *form.kernel), ids.double()
        if rank == 1:
            sums = functional.conv1d(flat, weights, None, form.stride, 0, form.dilation)
        else:
            sums = functional.conv2d(flat, weights, None, form.stride, 0, form.dilation)
        for axis, size in enumerate(form.outputs[1:], 2):
            sums = sums.narrow(axis, 0, size)
        sums = sums.flatten(1)
        ids = ids.flatten(1)
        first = firsts(bits(sums))

        def same(row: Tensor, a: Tensor, b: Tensor) -> Tensor:
            one, other = (ids[row[:, None], starts[place][:, None] + offsets] for place in (a, b))
            return (one == other).all(1)

        # Factors are positive and ids not negative, so that a sum is 0 only if every id is.
        return _where_same(first, same, len(offsets)).masked_fill(sums == 0, -1)

    def _elementwise(
        self, step: AffineStep, shapes: list[tuple[int, ...]], given: list[Tensor | Grid | None]
    ) -> Tensor | Grid | None:
        """A step whose outputs read one number of each input at most."""
        found = self.network.derived(("places read", step.output), lambda: _Reads.of(step, shapes))
        if found is None:
            return None
        if len(given) == 1 and isinstance(given[0], Grid):
            front = found.in_order
            if front is not None and (not front or not given[0].front) and given[0].are_alike(found.kind[front:]):
                return given[0]._replace(front=given[0].front + front)
        read = [None if part is None else full(part) for part in given]
        whole = [torch.arange(math.prod(shape)).expand(len(self.bare), -1) for shape in shapes]
        owns = [other if own is None else own for own, other in zip(read, whole)]
        if found.back is not None:
            # Numbers in other places: the first equal one is where the first equal one goes.
            begun = list(accumulate((math.prod(shape) for shape in shapes[:-1]), initial=0))
            own = torch.cat([torch.where(part < 0, -1, part + start) for part, start in zip(owns, begun)], 1)
            place = found.place.clamp_min(0)
            first = torch.where(found.place < 0, -1, own[:, place])
            goes = torch.where(first < 0, -1, found.back[first.clamp_min(0)])
            at = goes.clamp_min(0)
            if bool(((first < 0) | ((goes >= 0) & (found.kind[at] == found.kind))).all()):
                return goes
        parts = [torch.where(place < 0, -1, own[:, place.clamp_min(0)]) for place, own in zip(found.places, owns)]
        return _of_tuples(torch.stack(parts, 2), found.kind)

    def _apart(self, first: Tensor, kind: Tensor) -> Tensor:
        """The firsts where numbers of different kinds are not equal, but for those that are 0."""
        if bool((kind[first.clamp_min(0)] == kind).logical_or(first < 0).all()):
            return first
        return firsts((first + 1) * (int(kind.max()) + 1) + kind).masked_fill(first < 0, -1)

    def _shifted(self, first: Tensor | Grid, added: Tensor, name: str) -> Tensor | Grid:
        """The firsts once numbers are added, ``(n,)``, to make a value; at infinity nothing is added."""
        if not added.any():
            return first
        if isinstance(first, Grid):
            grid = first.shifted(added, self.bare)
            if grid is not None:
                return grid
            first = first.full()
        kind = self.network.derived(("equal terms", name), lambda: classes(added[:, None]))
        bare = self.bare[:, None]
        apart = torch.where(bare, first, self._apart(first, kind))
        # What was 0 is what was added now: the first of those.
        zero = (first < 0) & ~bare & (added != 0)
        if not zero.any():
            return apart
        own = torch.arange(first.shape[1])
        place = torch.where(zero, own, first.shape[1])
        least = torch.full((len(first), int(kind.max()) + 1), first.shape[1])
        least = least.scatter_reduce(1, kind.expand_as(place), place, "amin")
        return torch.where(zero, least.gather(1, kind.expand_as(place)), apart)
