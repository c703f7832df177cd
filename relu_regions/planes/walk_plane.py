"""walk_plane(): every face of a network in planes, cut in rational arithmetic where floats leave doubt."""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.backends.memory import budget
from relu_regions.exactness.effort import Effort
from relu_regions.exactness.resolving import Resolve, may_settle
from relu_regions.exactness.stages import warn_of_doubt
from relu_regions.lines.line_batch import Array, Breakpoints, Model, check_breakpoints
from relu_regions.lines.plane_batch import PlaneBatch, PolygonLike
from relu_regions.lines.progress import Progress
from relu_regions.planes.planes import Planes
from relu_regions.planes.settle import budget_for, settled, worth_settling
from relu_regions.planes.tiles import PlaneFaces
from relu_regions.planes.walk import walked

__all__ = ["walk_plane"]


def walk_plane(
    model: Model,
    x: Array,
    u: Array,
    v: Array,
    polygon: PolygonLike = ((0, 0), (1, 0), (0, 1)),
    *,
    breakpoints: Breakpoints = "pattern",
    dtype: torch.dtype = torch.float64,
    resolve: Resolve = "auto",
    resolve_seconds: float | None = None,
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> Planes:
    """Every face of the network in the planes ``x + s u + t v``, found without sampling.

    A face is a maximal part of the polygon, with positive area, on which every unit keeps its piece.

    Args:
        model: a torch.nn.Module in eval mode, an exported program, or a Network; not modified.
        x: points, ``(N, *input_shape)``, tensor or array of floats.
        u: directions, broadcastable to x; those of one plane are not parallel.
        v: likewise.
        polygon: the corners (s, t) of a convex polygon in order, either way round, ``(K, 2)``, or one for each plane,
            ``(N, K, 2)``; numbers, Fractions too. By default the triangle with the corners x, x + u and x + v.
        breakpoints: which ones bound faces. "pattern": wherever a unit of the model changes its piece. "function": a
            maximum and the increasing activation before it or behind it, such as ReLU and max pooling, are one gate,
            and what one of the two hides of the other is no edge. ``Planes.network`` then has the fused gates, and
            patterns and flips are theirs, as with ``walk``.
        dtype: of the answer's points and maps, float64 or float32. Faces are those of the planes as they were given,
            cut in float64.
        resolve: what to do about faces for which bounds leave open whether rounding decided something. "auto" cuts
            them in rational arithmetic where that takes about ten seconds for a plane, "always" however long it takes;
            "never" computes no bounds. ``certain`` says which planes are proven, ``settled`` which of them needed
            rational arithmetic.
        resolve_seconds: how long exact arithmetic may take in all; by default 60 seconds with "auto", and however
            long it takes with "always". `UnprovenWarning` says how many planes are left.
        memory_budget: bytes that the walk may take besides its result; a quarter of the free memory by default.
        progress: whether to show a progress bar; by default where a person is looking and it takes long.

    Returns:
        Planes: on x's device.

    Raises:
        TypeError, ValueError, UnsupportedOperation: what was given cannot be walked; the text says why.

    Examples:
        >>> import relu_regions as rr, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()).eval()
        >>> _ = model[0].load_state_dict({"weight": torch.tensor([[2.0, 0.0], [0.0, 1.0]]), "bias": torch.zeros(2)})
        >>> x, u, v = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
        >>> planes = rr.walk_plane(model, x, u, v, [(-1, -1), (1, -1), (1, 1), (-1, 1)])
        >>> planes.face_counts.tolist(), planes.certain.tolist()
        ([4], [True])
    """
    bounded, effort = may_settle(resolve), Effort(resolve, resolve_seconds, progress)
    check_breakpoints(breakpoints)
    asked = PlaneBatch.of(model, x, u, v, polygon)
    asked = asked.fused() if breakpoints == "function" else asked
    given = asked if dtype == torch.float64 else PlaneBatch.of(asked.network, x, u, v, polygon, dtype)
    memory, planes = budget(memory_budget, torch.device("cpu")), asked.to("cpu")
    with torch.no_grad(), Progress(len(planes), "walk_plane", progress, "plane") as bar:
        costs = budget_for(resolve, effort.seconds)
        answers = walked(planes, bounded, memory, bar.reach, costs)
        bar.reach(len(planes))
        doubt = [number for number, answer in enumerate(answers) if answer is None]
        effort.left = 0.0 if costs is None else costs.seconds
        left, late = _settle(planes, answers, doubt, resolve, effort, memory) if doubt else (0, 0)
        found = [answer for answer in answers if answer is not None]
        asked.compare(*_inside_faces(found))
    if bounded:
        warn_of_doubt(left, late, len(planes), effort, "planes")
    return Planes.of(given, found)


def _settle(
    planes: PlaneBatch,
    answers: list[PlaneFaces | None],
    doubt: list[int],
    resolve: Resolve,
    effort: Effort,
    memory: int,
) -> tuple[int, int]:
    """Put the answers of planes in doubt in their places.

    Returns:
        How many are not proven, and for how many of these time was up.
    """
    plain = walked(planes.only(doubt), False, memory)
    for number, answer in zip(doubt, plain):
        answers[number] = answer
    counts = [0 if answer is None else len(answer.tiles) for answer in plain]
    worth = [number for number, ok in zip(doubt, worth_settling(counts, resolve, planes.network)) if ok]
    done = 0
    with effort.stage("rational", len(worth), "plane") as stage:
        for number, answer in zip(worth, settled(planes, worth, stage.reach)):
            answers[number] = answer
            done += 1
    return len(doubt) - done, len(worth) - done


def _inside_faces(answers: list[PlaneFaces]) -> tuple[Tensor, Tensor]:
    """Points inside of all faces: the number of each one's plane, ``(F,)``, and where it is, ``(F, 2)``."""
    counts = torch.tensor([len(answer.tiles) for answer in answers], dtype=torch.int64)
    places = [torch.from_numpy(answer.tiles.centroids) for answer in answers]
    planes = torch.arange(len(answers)).repeat_interleave(counts)
    return planes, torch.cat(places) if places else torch.zeros(0, 2, dtype=torch.float64)
