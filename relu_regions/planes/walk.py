"""The walk of planes in floats: sheets of faces taken through a network, block by block, and put together by plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch

from relu_regions.backends.plane_cuts import Inputs, Polygons, plane_kernel
from relu_regions.backends.threads import each_on_one_thread
from relu_regions.exactness.rational.planes.polygons import Polygon
from relu_regions.lines.decision import Decision
from relu_regions.lines.plane_batch import PlaneBatch, Position
from relu_regions.network.arrays import Floats, Integers, Numbers
from relu_regions.network.network import Network
from relu_regions.network.plan import folded
from relu_regions.network.steps import AffineStep, GateStep
from relu_regions.planes.doubts import Budget, Doubts
from relu_regions.planes.form_bounds import GATE, FormBounds
from relu_regions.planes.outlines import outlines
from relu_regions.planes.sheet import Parts, Sheet, Way
from relu_regions.planes.ties import PlaneTies
from relu_regions.planes.tiles import PlaneFaces, Tiles

__all__ = ["walked"]

# Beyond so many bytes, with all that a gate makes of them, faces that go on together are no faster.
_BLOCK_BYTES = 8 << 20
# How many times a block's numbers are there at once, a gate's parts included.
_COPIES = 8
# How many blocks there are to be for each thread, some of which take longer than others.
_EACH = 8


def walked(
    planes: PlaneBatch,
    bounded: bool,
    memory: int,
    reach: Callable[[int], None] = lambda done: None,
    budget: Budget | None = None,
) -> list[PlaneFaces | None]:
    """The faces of each plane; None for those that are in doubt.

    Args:
        planes: in float64, on the processor.
        bounded: whether to carry bounds along; without, no plane is in doubt, and none is certain.
        memory: bytes that blocks may take.
        reach: is told how many planes are done.
        budget: what rational arithmetic may cost where bounds leave faces in doubt; None to leave them.
    """
    network = folded(planes.network)
    outlined = _outlined(planes.polygons)
    polygons, sizes = outlines(outlined)
    bounds = FormBounds.of(network) if bounded else None
    ties = None if bounds is None else PlaneTies(planes, bounds)
    doubts = None
    if bounds is not None and ties is not None and budget is not None:
        doubts = Doubts(planes, outlined, bounds, ties, budget)
    way = Way(network, bounds, plane_kernel(), sizes, ties, doubts)
    found = _Found(way, Decision.of(network.output_shape) if _has_classes(network.output_shape) else None)
    most = _faces_together(network, memory)
    threads = torch.get_num_threads()

    def through(faces: Sheet | Parts) -> list[tuple[Sheet, _Cells | None]]:
        # Both are each thread's own.
        with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
            sheets = [(sheet, found.cells_of(sheet)) for sheet in _through(faces, way, found, most)]
        if sheets:
            # Planes come in order, so that those before it are complete.
            reach(int(sheets[-1][0].plane[-1]))
        return sheets

    with np.errstate(over="ignore", invalid="ignore"):
        start = _start(planes, polygons, bounded)
        blocks = _spread(start, way, found, most, _EACH * threads) if threads > 1 else [start]
    for sheets in each_on_one_thread(through, blocks, threads):
        found.sheets += sheets
    return found.each(len(planes), [polygon.area for polygon in outlined])


def _outlined(given: Sequence[Sequence[Position]]) -> list[Polygon]:
    """The polygons of planes, one that all have made once."""
    made = {id(corners): corners for corners in given}
    polygons = {key: Polygon.of(corners) for key, corners in made.items()}
    return [polygons[id(corners)] for corners in given]


def _has_classes(output_shape: tuple[int, ...]) -> bool:
    return len(output_shape) == 1 and output_shape[0] > 0


def _start(planes: PlaneBatch, polygons: Polygons, bounded: bool) -> Sheet:
    name, shape = planes.network.input_name, planes.network.input_shape
    forms = torch.stack([planes.x, planes.u, planes.v], 1).reshape(-1, *shape)
    errors = {name: torch.zeros_like(planes.x)} if bounded else {}
    return Sheet(polygons, np.arange(len(planes)), (), {name: forms}, errors)


def _through(first: Sheet | Parts, way: Way, found: _Found, most: list[int]) -> Iterator[Sheet]:
    """The sheets behind the last step, in the order of their faces.

    Args:
        most: how many faces go on together, at each step.
    """
    waiting = [first]
    while waiting:
        faces = waiting.pop()
        if len(faces) > most[faces.step]:
            waiting += reversed(list(_blocks(faces, most)))
            continue
        sheet = found.without_doubt(faces.made(way) if isinstance(faces, Parts) else faces)
        if len(sheet) and sheet.step == len(way.network.steps):
            yield sheet
        elif len(sheet):
            waiting.append(_next(sheet, way, found))


def _blocks(faces: Sheet | Parts, most: list[int]) -> Iterator[Sheet | Parts]:
    """The same faces, no more than go on together in each block."""
    for start in range(0, len(faces), most[faces.step]):
        yield faces.some(start, min(start + most[faces.step], len(faces)))


def _next(sheet: Sheet, way: Way, found: _Found) -> Sheet | Parts:
    """What is behind a sheet's next step."""
    if isinstance(way.network.steps[sheet.step], AffineStep):
        return sheet.affine(way)
    parts, in_doubt = sheet.gate(way)
    found.doubt(in_doubt)
    return parts


def _spread(first: Sheet, way: Way, found: _Found, most: list[int], least: int) -> list[Sheet | Parts]:
    """The faces taken so far that there are several blocks, if they become so many, to be shared out among threads."""
    blocks: list[Sheet | Parts] = list(_blocks(first, most))
    while 0 < len(blocks) < least and blocks[0].step < len(way.network.steps):
        sheets = [faces.made(way) if isinstance(faces, Parts) else faces for faces in blocks]
        behind = [_next(sheet, way, found) for sheet in map(found.without_doubt, sheets) if len(sheet)]
        blocks = [block for faces in behind for block in _blocks(faces, most)]
    return blocks


def _faces_together(network: Network, memory: int) -> list[int]:
    """For each step, and behind the last, how many faces go on together.

    What is behind is made before what waits, so a block may be as large as the next steps allow, up to the next gate.
    """
    result = []
    for start in range(len(network.steps) + 1):
        gate = next((k for k in range(start, len(network.steps)) if isinstance(network.steps[k], GateStep)), start)
        steps = network.steps[max(0, start - 1) : gate + 1]
        widest = max(math.prod(network.shapes[name]) for step in steps for name in (*step.inputs, step.output))
        result.append(max(1, min(_BLOCK_BYTES, memory) // (8 * 3 * _COPIES * (widest + 32))))
    return result


class _Cells(NamedTuple):
    """Cells of a sheet: of which face each is, their polygons, and the classes that win."""

    face: Integers
    polygons: Polygons
    label: Integers


@dataclass
class _Found:
    """What has come through the network so far, and the planes in doubt.

    Attributes:
        decision: None where the outputs are no logits.
        sheets: behind the last step, each with its cells.
        in_doubt: the numbers of the planes.
    """

    way: Way
    decision: Decision | None
    sheets: list[tuple[Sheet, _Cells | None]] = field(default_factory=list)
    in_doubt: set[int] = field(default_factory=set)

    def doubt(self, planes: Integers) -> None:
        """Note planes in doubt."""
        self.in_doubt.update(planes.tolist())

    def without_doubt(self, sheet: Sheet) -> Sheet:
        """The faces of planes that are not in doubt."""
        if not self.in_doubt:
            return sheet
        doubtful = np.isin(sheet.plane, list(self.in_doubt))
        return sheet.only(np.flatnonzero(~doubtful)) if doubtful.any() else sheet

    def cells_of(self, sheet: Sheet) -> _Cells | None:
        """The parts of a sheet's faces on which one class wins; None where the outputs are no logits."""
        if self.decision is None:
            return None
        forms, errors, known = self._logits(sheet, self.decision)
        windows = np.arange(forms.shape[2])[None]
        inputs = Inputs(forms, errors, known, self.way.reach[sheet.plane], self.way.bounds is not None)
        label = (len(self.way.network.gates) + 1) * GATE
        origins = np.zeros(0, dtype=np.uint64)
        if len(known) and self.way.bounds is not None:
            origins = self.way.bounds.origins(self.way.network.output_name)
        cut = self.way.kernel.cut_by_leads(sheet.polygons, inputs, windows, origins, label)
        if cut.doubt.any() and self.way.doubts is not None:
            asked = sheet.asked(forms, errors, self.way)
            cut = self.way.doubts.settled(asked, cut, self.decision)
        if cut.doubt.any():
            self.doubt(np.unique(sheet.plane[cut.doubt]))
        return _Cells(cut.parents, cut.polygons, np.array(self.decision.classes)[cut.pieces[:, 0]])

    def _logits(self, sheet: Sheet, decision: Decision) -> tuple[Floats, Floats, Numbers]:
        """The logits that compete, ``(F, 3, k)``, their bounds, ``(F, k)``, and what is known of them."""
        name = self.way.network.output_name
        outputs = sheet.values[name]
        errors = sheet.errors.get(name)
        forms = decision.logits(outputs)
        size = decision.logits(torch.zeros_like(outputs[: len(sheet)]) if errors is None else errors)
        flat = forms.reshape(len(sheet), 3, forms.shape[1]).contiguous().numpy()
        known = np.zeros((0, 0), dtype=np.int8)
        if self.way.bounds is not None and decision.outputs > 1:
            known = self.way.bounds.known(name, flat)
        return flat, size.contiguous().numpy(), known

    def each(self, count: int, areas: Sequence[Fraction]) -> list[PlaneFaces | None]:
        """The answers, plane by plane."""
        if not self.sheets:
            return [None] * count
        sheet = _together([sheet for sheet, _ in self.sheets])
        name = self.way.network.output_name
        outputs = math.prod(self.way.network.output_shape)
        forms = sheet.values[name].reshape(len(sheet), 3, outputs).swapaxes(1, 2).contiguous().numpy()
        starts = _starts(sheet.plane, count)
        tiles = self._tiles(sheet.polygons, starts, areas)
        cells = self._cells(sheet, count, areas) if self.decision is not None else None
        certain = self.way.bounds is not None
        settled = {} if self.way.doubts is None else self.way.doubts.spent
        answers: list[PlaneFaces | None] = []
        for plane, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist())):
            if plane in self.in_doubt:
                answers.append(None)
                continue
            own: tuple[Tiles | None, Integers | None, Integers | None] = (None, None, None)
            if cells is not None:
                cell_tiles, cell_face, cell_class, cell_starts = cells
                some = slice(cell_starts[plane], cell_starts[plane + 1])
                own = (cell_tiles[plane], cell_face[some] - start, cell_class[some])
            answers.append(
                PlaneFaces(
                    tiles[plane],
                    forms[start:stop],
                    tuple(pieces[start:stop] for pieces in sheet.patterns),
                    *own,
                    certain,
                    plane in settled,
                )
            )
        return answers

    def _cells(
        self, sheet: Sheet, count: int, areas: Sequence[Fraction]
    ) -> tuple[list[Tiles], Integers, Integers, Integers]:
        """The tiles of each plane, of which face each cell is and of which class, and where each plane begins."""
        firsts = np.cumsum([0, *(len(part) for part, _ in self.sheets)])
        cells = [cells for _, cells in self.sheets if cells is not None]
        face = np.concatenate([part.face + first for part, first in zip(cells, firsts)])
        polygons = Polygons.together([part.polygons for part in cells])
        labels = np.concatenate([part.label for part in cells])
        starts = _starts(sheet.plane[face], count)
        return self._tiles(polygons, starts, areas), face, labels, starts

    def _tiles(self, polygons: Polygons, starts: Integers, areas: Sequence[Fraction]) -> list[Tiles]:
        """The tiles of each plane; planes whose tiles do not fit together are in doubt, whatever the bounds say."""
        made, kernel = [], self.way.kernel
        for plane, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist())):
            offsets = polygons.offsets[start : stop + 1]
            first, last = int(offsets[0]), int(offsets[-1])
            offsets = offsets - first
            corners, places = kernel.number_corners(polygons.names, first, last)
            ends, beside = kernel.number_sides(corners, offsets)
            tiles = Tiles(polygons.numbers[places, :2], offsets, corners, ends, beside)
            if self.way.bounds is not None and plane not in self.in_doubt:
                border = int(np.count_nonzero(polygons.names[first:last, 2] < GATE))
                if not self._fits(tiles, border, areas[plane], float(polygons.numbers[places, 2:4].max())):
                    self.in_doubt.add(plane)
            made.append(tiles)
        return made

    def _fits(self, tiles: Tiles, border: int, area: Fraction, error: float) -> bool:
        """Whether tiles meet edge to edge, with as many sides on the border as the polygons have there."""
        try:
            tiles.check(area, error)
        except ArithmeticError:
            return False
        return border == int(np.count_nonzero(tiles.beside[:, 1] < 0))


def _together(sheets: list[Sheet]) -> Sheet:
    patterns = tuple(np.concatenate(parts) for parts in zip(*(sheet.patterns for sheet in sheets)))
    values = {name: torch.cat([sheet.values[name] for sheet in sheets]) for name in sheets[0].values}
    polygons = Polygons.together([sheet.polygons for sheet in sheets])
    return Sheet(polygons, np.concatenate([sheet.plane for sheet in sheets]), patterns, values, {}, sheets[0].step)


def _starts(plane: Integers, count: int) -> Integers:
    """Where each plane begins, ``(count + 1,)``: faces come plane by plane, since what waits goes on in its order."""
    return np.concatenate([[0], np.bincount(plane, minlength=count).cumsum()])
