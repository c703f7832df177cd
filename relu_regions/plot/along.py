"""Pictures along a segment: logits, norms of regions, and the parts of a change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from relu_regions.lines.decision import Decision
from relu_regions.network.arrays import Floats, Integers
from relu_regions.network.gates import Selection
from relu_regions.paths.change import weight_change
from relu_regions.paths.paths import Path
from relu_regions.plot.drawing import as_floats, colour, logarithmic, new_axes, plain
from relu_regions.regions.lipschitz_bounds import linear_network_norm, logit_bounds, product_bound

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["change_along_path", "logits_along_path", "norms_along_path"]


def logits_along_path(
    path: Path,
    ax: Axes | None = None,
    *,
    label: int | None = None,
    t_range: tuple[float, float] | None = None,
    class_names: Sequence[str] | None = None,
    breakpoints: bool = True,
) -> Axes:
    """The logits along a segment, exactly: broken lines from breakpoint to breakpoint (paper, figures 1 to 3).

    The background has the colour of the class with the largest logit, and the boundaries between the colours are
    the decision boundaries on the segment. Every breakpoint is a tick along the upper edge. Logits of classes
    that win nowhere on the picture are grey, unless theirs is the ``label``. A single output is the logit of class 1,
    and that of class 0 is 0.

    Args:
        path: with a vector of logits for each point.
        ax: where to draw; a new figure by default.
        label: the class whose logit is drawn bold, by default the class at t = 0.
        t_range: the stretch of t to show. By default all of the path; on a side where it is unbounded, a tenth
            beyond the last breakpoint, and at least 1.
        class_names: for the legend; by default "class 0" and so on.
        breakpoints: whether to draw their ticks.

    Raises:
        ValueError: the outputs are no vectors of logits; label is no class; names are missing; or t_range is empty, not
            finite or leaves the path.
    """
    decision = Decision.of(path.paths.network.output_shape)
    _check_label(label, decision)
    if class_names is not None and len(class_names) != decision.count:
        raise ValueError(f"class_names must name {decision.count} classes, got {len(class_names)} names")
    t, outputs = _points(path, *_view(path, t_range))
    logits = as_floats(decision.logits(outputs))
    if label is None:
        label = _label_at_x(path, decision)
    ax = new_axes(ax)
    winners = _draw_bands(ax, t, logits)
    names = class_names or [f"class {k}" for k in range(decision.count)]
    _draw_logits(ax, t, logits, label, winners, names)
    bends = t[1:-1]
    if breakpoints and len(bends):
        ax.plot(
            bends, np.full(len(bends), 0.985), "|", color="black", markersize=6, markeredgewidth=0.6,
            transform=ax.get_xaxis_transform(), label=f"{len(bends)} breakpoint{'s' * (len(bends) > 1)}",
        )  # fmt: skip
    return _finish(ax, t, "logit")


def norms_along_path(
    path: Path, ax: Axes | None = None, *, t_range: tuple[float, float] | None = None, bounds: bool = True
) -> Axes:
    """‖W_x‖_∞ on every region of a segment, on a logarithmic axis, under what bounds it (paper, appendix A).

    The background has the colour of the class with the largest logit, if outputs are vectors of logits. Horizontal
    lines show the mean over what is drawn, by length; ‖W‖_∞ of the network without its gates, if these can be removed,
    which bounds nothing; and two bounds: the largest row sum of |W_L| ⋯ |W_1|, and Π ‖W_l‖_∞. A norm of 0 leaves a gap.

    Args:
        path: any segment.
        ax: where to draw; a new figure by default.
        t_range: as in ``logits_along_path``.
        bounds: whether to draw the horizontal lines.

    Raises:
        ValueError: t_range is empty, not finite or leaves the path.
    """
    low, high = _view(path, t_range)
    ends = path.t.cpu().numpy().astype(np.float64)
    shown = (ends[1:] > low) & (ends[:-1] < high)
    edges = np.clip(np.append(ends[:-1][shown], ends[1:][shown][-1]), low, high)
    norms = as_floats(path.norms(math.inf))[shown]
    ax = new_axes(ax)
    t, outputs = _points(path, low, high)
    if outputs.ndim == 2 and outputs.shape[1]:
        _draw_bands(ax, t, as_floats(Decision.of(outputs.shape[1:]).logits(outputs)))
    ax.stairs(np.where(norms > 0, norms, np.nan), edges, baseline=None, color="black", linewidth=1.3,
              label=r"$\|W_x\|_\infty$")  # fmt: skip
    if bounds:
        mean = float((norms * np.diff(edges)).sum() / (high - low))
        for place, (name, number) in enumerate({"mean over the length shown": mean, **_levels(path)}.items()):
            if number > 0:
                style = ("-", "--", "-.", ":")[place]
                ax.axhline(number, color=colour((2, 0, 1, 3)[place]), linewidth=1.4, linestyle=style,
                           label=f"{name}: {plain(number)}")  # fmt: skip
    logarithmic(ax, "y")
    return _finish(ax, t, r"operator norm for the $\infty$-norm")


def _levels(path: Path) -> dict[str, float]:
    """What ‖W_x‖_∞ is compared with, by its name in the legend."""
    network = path.paths.network
    levels = {
        r"largest row sum of $|W_L| \cdots |W_1|$": float(logit_bounds(network).max()),
        r"$\Pi_l\, \|W_l\|_\infty$": product_bound(network),
    }
    if any(isinstance(step.gate, Selection) for step in network.gates):
        return levels
    return {r"$\|W\|_\infty$, gates removed": linear_network_norm(network), **levels}


def change_along_path(path: Path, ax: Axes | None = None, *, label: int | None = None) -> Axes:
    """How a logit changes from t = 0, and the two parts of that (paper, equations 9 and 10).

    Args:
        path: over a finite range, with a vector of logits.
        ax: where to draw; a new figure by default.
        label: whose logit; by default the class at t = 0, or class 1 where a single output is its logit.

    Raises:
        ValueError: the outputs are no vectors of logits; label is no class; or the path is unbounded.
    """
    decision = Decision.of(path.paths.network.output_shape)
    _check_label(label, decision)
    found = weight_change(path)
    if label is None:
        label = 1 if decision.outputs == 1 else _label_at_x(path, decision)
    t = as_floats(found.t)
    # What is 0 everywhere, as the logit of class 0 beside a single output, does not change.
    weights, direction = (as_floats(decision.logits(part)[:, label]) for part in (found.weights, found.direction))
    ax = new_axes(ax)
    _draw_bands(ax, t, as_floats(decision.logits(path.outputs)))
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.plot(t, weights + direction, color="black", linewidth=1.8, label=f"change of logit {label}")
    ax.plot(t, weights, color=colour(3), linewidth=1.2, label=r"of weights: $(W_x - W_{x_0})\,x + b_x - b_{x_0}$")
    ax.plot(t, direction, color=colour(0), linewidth=1.2, linestyle="--", label="of direction: $W_{x_0} (x - x_0)$")
    return _finish(ax, t, "change since $t = 0$")


def _check_label(label: int | None, decision: Decision) -> None:
    if label is not None and not 0 <= label < decision.count:
        raise ValueError(f"label must be a class from 0 to {decision.count - 1}, got {label}")


def _label_at_x(path: Path, decision: Decision) -> int:
    return int(decision.labels(path.paths.outputs_at_x[path.index][None]))


def _points(path: Path, low: float, high: float) -> tuple[Floats, Tensor]:
    """Both ends and the breakpoints in between, and the outputs there."""
    bends = as_floats(path.breakpoints)
    t = np.concatenate([[low], bends[(bends > low) & (bends < high)], [high]])
    return t, path.outputs_at(torch.from_numpy(t))


def _finish(ax: Axes, t: Floats, name: str) -> Axes:
    if t[0] < 0 < t[-1]:
        ax.axvline(0, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlim=(t[0], t[-1]), xlabel=r"$t$, along $x + t\,d$", ylabel=name)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)
    return ax


def _draw_bands(ax: Axes, t: Floats, logits: Floats) -> set[int]:
    """Colour the background by the class that wins, and say which do."""
    bounds, winners = _bands(t, logits)
    for start, stop, winner in zip(bounds[:-1], bounds[1:], winners):
        ax.axvspan(start, stop, color=colour(winner), alpha=0.15, linewidth=0)
    return set(winners.tolist())


def _view(path: Path, t_range: tuple[float, float] | None) -> tuple[float, float]:
    ends = float(path.t[0]), float(path.t[-1])
    if t_range is None:
        finite = path.breakpoints[torch.isfinite(path.breakpoints)].tolist()
        finite += [end for end in (0.0, *ends) if math.isfinite(end)]
        margin = max(1.0, (max(finite) - min(finite)) / 10)
        low = ends[0] if math.isfinite(ends[0]) else min(finite) - margin
        high = ends[1] if math.isfinite(ends[1]) else max(finite) + margin
        return low, high
    low, high = (float(end) for end in t_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"t_range must be two finite numbers in order, got {t_range}")
    if low < ends[0] or high > ends[1]:
        raise ValueError(f"t_range {t_range} leaves the path, which was walked for t from {ends[0]} to {ends[1]}")
    return low, high


def _bands(t: Floats, logits: Floats) -> tuple[Floats, Integers]:
    """Where the largest logit changes, ends included, and the classes in between: the upper envelope."""
    bounds: list[float] = [float(t[0])]
    winners: list[int] = []
    for start, stop, here, there in zip(t[:-1], t[1:], logits[:-1], logits[1:]):
        share, top = 0.0, here.max()
        # Of the classes that tie at the start, the one that is largest right after it.
        winner = int(np.where(here == top, there, -np.inf).argmax())
        while True:
            if winners and winners[-1] != winner:
                bounds.append(float(start + share * (stop - start)))
            if not winners or winners[-1] != winner:
                winners.append(winner)
            gap, gain = here[winner] - here, (there - here) - (there - here)[winner]
            rising = (there > there[winner]) & (gain > 0)
            meets = np.divide(gap, gain, out=np.full(len(gap), np.inf), where=rising)
            if not (meets < 1).any():
                break
            share = max(share, float(meets.min()))
            winner = int(np.where(meets == meets.min(), there, -np.inf).argmax())
    return np.array([*bounds, float(t[-1])]), np.array(winners)


def _draw_logits(ax: Axes, t: Floats, logits: Floats, label: int, winners: set[int], names: Sequence[str]) -> None:
    others = [k for k in range(logits.shape[1]) if k not in winners and k != label]
    for place, k in enumerate(others):
        ax.plot(t, logits[:, k], color="0.6", linewidth=0.7, label="other classes" if place == 0 else None)
    for k in sorted({*winners, label}):
        ax.plot(t, logits[:, k], color=colour(k), linewidth=2.2 if k == label else 1.2, label=names[k])
