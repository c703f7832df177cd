"""The walk of planes in floats: sheets of faces taken through a network, block by block, and put together by plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch

from relu_regions.backends.plane_cuts import Polygons, plane_kernel
from relu_regions.exactness.rational.planes.polygons import Polygon
from relu_regions.lines.decision import Decision
from relu_regions.lines.plane_batch import PlaneBatch, Position
from relu_regions.network.arrays import Floats, Integers, Numbers
from relu_regions.network.network import Network
from relu_regions.network.plan import folded
from relu_regions.network.steps import AffineStep, GateStep
from relu_regions.planes.form_bounds import FormBounds
from relu_regions.planes.outlines import outlines
from relu_regions.planes.sheet import GATE, Sheet, Way
from relu_regions.planes.tiles import PlaneFaces, Tiles

__all__ = ["walked"]

# Beyond so many bytes, with all that a gate makes of them, faces that go on together are no faster.
_BLOCK_BYTES = 8 << 20
# How many times a block's numbers are there at once, a gate's parts included.
_COPIES = 8


def walked(
    planes: PlaneBatch, bounded: bool, memory: int, reach: Callable[[int], None] = lambda done: None
) -> list[PlaneFaces | None]:
    """The faces of each plane; None for those that are in doubt.

    Args:
        planes: in float64, on the processor.
        bounded: whether to carry bounds along; without, no plane is in doubt, and none is certain.
        memory: bytes that blocks may take.
        reach: is told how many planes are done.
    """
    network = folded(planes.network)
    outlined = _outlined(planes.polygons)
    polygons, sizes = outlines(outlined)
    way = Way(network, FormBounds.of(network) if bounded else None, plane_kernel(), sizes)
    found = _Found(way, Decision.of(network.output_shape) if _has_classes(network.output_shape) else None)
    with np.errstate(over="ignore", invalid="ignore"):
        for sheet in _through(_start(planes, polygons, bounded), way, found, memory):
            found.add(sheet)
            # Planes come in order, so that those before it are complete.
            reach(int(sheet.plane[0]))
    return found.each(len(planes), [polygon.area for polygon in outlined])


def _outlined(given: Sequence[Sequence[Position]]) -> list[Polygon]:
    """The polygons of planes, equal ones made once."""
    made: dict[tuple[Position, ...], Polygon] = {}
    for corners in given:
        if tuple(corners) not in made:
            made[tuple(corners)] = Polygon.of(corners)
    return [made[tuple(corners)] for corners in given]


def _has_classes(output_shape: tuple[int, ...]) -> bool:
    return len(output_shape) == 1 and output_shape[0] > 0


def _start(planes: PlaneBatch, polygons: Polygons, bounded: bool) -> Sheet:
    name, shape = planes.network.input_name, planes.network.input_shape
    forms = torch.stack([planes.x, planes.u, planes.v], 1).reshape(-1, *shape)
    errors = {name: torch.zeros_like(planes.x)} if bounded else {}
    return Sheet(polygons, np.arange(len(planes)), (), {name: forms}, errors)


def _through(first: Sheet, way: Way, found: _Found, memory: int) -> Iterator[Sheet]:
    """The sheets behind the last step."""
    steps = way.network.steps
    most = _faces_together(way.network, memory)
    waiting = [first]
    while waiting:
        sheet = found.without_doubt(waiting.pop())
        if len(sheet) > most[sheet.step]:
            cuts = range(0, len(sheet), most[sheet.step])
            waiting += [sheet.some(start, min(start + cuts.step, len(sheet))) for start in reversed(cuts)]
        elif not len(sheet):
            continue
        elif sheet.step == len(steps):
            yield sheet
        elif isinstance(steps[sheet.step], AffineStep):
            waiting.append(sheet.affine(way))
        else:
            behind, doubt = sheet.gate(way)
            found.doubt(doubt)
            waiting.append(behind)


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


@dataclass
class _Found:
    """What has come through the network so far, and the planes in doubt.

    Attributes:
        decision: None where the outputs are no logits.
        sheets: behind the last step.
        cells: the parts of each sheet's faces on which one class wins: of which face, their polygons, and the classes.
        in_doubt: the numbers of the planes.
    """

    way: Way
    decision: Decision | None
    sheets: list[Sheet] = field(default_factory=list)
    cells: list[tuple[Integers, Polygons, Integers]] = field(default_factory=list)
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

    def add(self, sheet: Sheet) -> None:
        """Keep a sheet that is through, with the cells of its faces."""
        if self.decision is not None:
            forms, errors, known = self._logits(sheet, self.decision)
            windows = np.arange(forms.shape[2])[None]
            bounded = self.way.bounds is not None
            label = (len(self.way.network.gates) + 1) * GATE
            reach = self.way.reach[sheet.plane]
            cut = self.way.kernel.cut_by_leads(sheet.polygons, forms, errors, known, windows, reach, label, bounded)
            if cut.doubt.any():
                self.doubt(np.unique(sheet.plane[cut.doubt]))
            labels = np.array(self.decision.classes)[cut.pieces[:, 0]]
            self.cells.append((cut.parents, cut.polygons, labels))
        self.sheets.append(sheet)

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
        sheet = _together(self.sheets)
        name = self.way.network.output_name
        outputs = math.prod(self.way.network.output_shape)
        forms = sheet.values[name].reshape(len(sheet), 3, outputs).swapaxes(1, 2).contiguous().numpy()
        order, starts = _by_plane(sheet.plane, count)
        polygons = sheet.polygons.only(order)
        tiles = self._tiles(polygons, starts, areas)
        patterns = tuple(pieces[order] for pieces in sheet.patterns)
        forms = forms[order]
        cells = self._cells(sheet, order, count, areas) if self.decision is not None else None
        certain = self.way.bounds is not None
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
                    tuple(pieces[start:stop] for pieces in patterns),
                    *own,
                    certain,
                    False,
                )
            )
        return answers

    def _cells(
        self, sheet: Sheet, order: Integers, count: int, areas: Sequence[Fraction]
    ) -> tuple[list[Tiles], Integers, Integers, Integers]:
        firsts = np.cumsum([0, *(len(part) for part in self.sheets)])
        face = np.concatenate([parents + first for (parents, _, _), first in zip(self.cells, firsts)])
        polygons = Polygons.together([polygons for _, polygons, _ in self.cells])
        labels = np.concatenate([labels for _, _, labels in self.cells])
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        plane, face = sheet.plane[face], place[face]
        cell_order = np.argsort(face, kind="stable")
        starts = np.concatenate([[0], np.bincount(plane, minlength=count).cumsum()])
        tiles = self._tiles(polygons.only(cell_order), starts, areas)
        return tiles, face[cell_order], labels[cell_order], starts

    def _tiles(self, polygons: Polygons, starts: Integers, areas: Sequence[Fraction]) -> list[Tiles]:
        """The tiles of each plane, and for planes that are certain a check that they fit together."""
        made, kernel = [], self.way.kernel
        for plane, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist())):
            offsets = polygons.offsets[start : stop + 1]
            first, last = int(offsets[0]), int(offsets[-1])
            offsets = offsets - first
            corners, places = kernel.number_corners(polygons.names, first, last)
            ends, beside = kernel.number_sides(corners, offsets)
            tiles = Tiles(polygons.numbers[places, :2], offsets, corners, ends, beside)
            if self.way.bounds is not None and plane not in self.in_doubt:
                border = np.count_nonzero(polygons.names[first:last, 2] < GATE)
                if border != np.count_nonzero(beside[:, 1] < 0):
                    raise ArithmeticError("Sides of the parts have no neighbour, and are not on the border.")
                tiles.check(areas[plane], float(polygons.numbers[places, 2:4].max()))
            made.append(tiles)
        return made


def _together(sheets: list[Sheet]) -> Sheet:
    patterns = tuple(np.concatenate(parts) for parts in zip(*(sheet.patterns for sheet in sheets)))
    values = {name: torch.cat([sheet.values[name] for sheet in sheets]) for name in sheets[0].values}
    polygons = Polygons.together([sheet.polygons for sheet in sheets])
    return Sheet(polygons, np.concatenate([sheet.plane for sheet in sheets]), patterns, values, {}, sheets[0].step)


def _by_plane(plane: Integers, count: int) -> tuple[Integers, Integers]:
    """An order of faces by plane, and where each plane begins in it."""
    return np.argsort(plane, kind="stable"), np.concatenate([[0], np.bincount(plane, minlength=count).cumsum()])
