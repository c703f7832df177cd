"""Pictures. Each function draws into ``ax``, or a new one, and returns it; nothing is shown or saved.

matplotlib is imported when a picture is drawn, not before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from relu_regions.lines import Array
from relu_regions.paths import Path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["interval_density", "logits_along_path"]

Floats = NDArray[np.float64]


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
    that win nowhere on the picture are grey, unless theirs is the ``label``.

    Args:
        path: with at least two logits for each point.
        ax: where to draw; a new figure by default.
        label: the class whose logit is drawn bold, by default the class at t = 0.
        t_range: the stretch of t to show. By default all of the path; on a side where it is unbounded, a tenth
            beyond the last breakpoint, and at least 1.
        class_names: for the legend; by default "class 0" and so on.
        breakpoints: whether to draw their ticks.

    Raises:
        ValueError: the outputs are no vectors of two or more logits; label is no class; names are missing; or
            t_range is empty, not finite or leaves the path.
    """
    number = path.outputs.shape[1] if path.outputs.ndim == 2 else 0
    if number < 2:
        shape = tuple(path.outputs.shape[1:])
        raise ValueError(f"a picture of logits needs two or more of them at each point, got outputs of shape {shape}")
    if label is not None and not 0 <= label < number:
        raise ValueError(f"label must be a class from 0 to {number - 1}, got {label}")
    if class_names is not None and len(class_names) != number:
        raise ValueError(f"class_names must name {number} classes, got {len(class_names)} names")
    low, high = _view(path, t_range)
    bends = path.breakpoints.cpu().numpy().astype(np.float64)
    bends = bends[(bends > low) & (bends < high)]
    t = np.concatenate([[low], bends, [high]])
    logits = path.outputs_at(torch.from_numpy(t)).cpu().numpy().astype(np.float64)
    if label is None:
        label = int(path.paths.outputs_at_x[path.index].argmax())
    ax = _axes(ax)
    bounds, winners = _bands(t, logits)
    for start, stop, winner in zip(bounds[:-1], bounds[1:], winners):
        ax.axvspan(start, stop, color=_colour(winner), alpha=0.15, linewidth=0)
    names = class_names or [f"class {k}" for k in range(number)]
    _draw_logits(ax, t, logits, label, set(winners.tolist()), names)
    if breakpoints and len(bends):
        ax.plot(
            bends, np.full(len(bends), 0.985), "|", color="black", markersize=6, markeredgewidth=0.6,
            transform=ax.get_xaxis_transform(), label=f"{len(bends)} breakpoint{'s' * (len(bends) > 1)}",
        )  # fmt: skip
    if low < 0 < high:
        ax.axvline(0, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlim=(low, high), xlabel="$t$, along $x + t\\,d$", ylabel="logit")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)
    return ax


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


def _bands(t: Floats, logits: Floats) -> tuple[Floats, NDArray[np.int64]]:
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
        ax.plot(t, logits[:, k], color=_colour(k), linewidth=2.2 if k == label else 1.2, label=names[k])


def _colour(k: int) -> Any:
    import matplotlib

    if k < 10:
        # Its grey gives way to black: grey are the classes that win nowhere.
        return "black" if k == 7 else matplotlib.colormaps["tab10"](k)
    # Hues a golden section apart stay distinct for longest.
    return matplotlib.colormaps["hsv"]((k * 0.6180339887498949) % 1)


def interval_density(
    lengths: Mapping[str, Array],
    atoms: float | Sequence[float] = (),
    ax: Axes | None = None,
    *,
    bins: int = 40,
) -> Axes:
    """Densities of the lengths of intervals, with those of exactly the lengths ``atoms`` shown apart (figure 4).

    An interval that reaches both ends of its range has the range's full length: a share of all intervals sits on
    that one number. No density has such an atom. So it is a bar in a panel of its own, labelled with its share,
    and the density is that of the other intervals, of area 1 less this share. It is a histogram: nothing is
    smoothed, so nothing appears where there is no interval.

    Args:
        lengths: by name, ``(N,)`` each, not negative; infinite only if that is one of the atoms.
        atoms: lengths shown apart, such as 3 for t in [-1, 2], or ``math.inf``.
        ax: where to draw; a new figure by default. The panel of the atoms lies to its right, within the figure.
        bins: number of bins of the histogram, from 0 to the largest finite length.

    Raises:
        ValueError: there are no lengths; they are negative, NaN, or infinite without being an atom; or bins is
            less than 1.
    """
    marks = [float(atoms)] if isinstance(atoms, (int, float)) else [float(atom) for atom in atoms]
    columns = {name: _lengths(name, given, marks) for name, given in lengths.items()}
    if not columns:
        raise ValueError("lengths is empty: give the lengths of intervals by name")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    finite = [value for column in (*columns.values(), np.array(marks)) for value in column if math.isfinite(value)]
    edges = np.linspace(0, max(finite, default=0.0) or 1.0, bins + 1)
    ax = _axes(ax)
    shares = {}
    for place, (name, column) in enumerate(columns.items()):
        rest = column[~np.isin(column, marks)]
        shares[name] = [float((column == mark).mean()) for mark in marks]
        density = np.histogram(rest, edges)[0] / (len(column) * np.diff(edges))
        text = f"{name} ({len(column):,} lines)"
        ax.stairs(density, edges, color=_colour(place), fill=True, alpha=0.2)
        ax.stairs(density, edges, color=_colour(place), linewidth=1.4, label=text)
    ax.set(
        xlim=(0, edges[-1]),
        xlabel="length of the interval, in units of $t$",
        ylabel="density per unit of $t$",
    )
    # Room above the densities for the legend.
    ax.set_ylim(0, (1.15 + 0.08 * len(columns)) * max(ax.dataLim.ymax, 1e-300))
    ax.legend(frameon=False, loc="upper left")
    if marks:
        _draw_atoms(ax, marks, shares)
    return ax


def _lengths(name: str, given: Array, marks: list[float]) -> Floats:
    column = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given, dtype=np.float64)
    if column.ndim != 1 or len(column) == 0:
        raise ValueError(f"lengths of {name!r} must be (N,) with N at least 1, got shape {column.shape}")
    if np.isnan(column).any() or (column < 0).any():
        raise ValueError(f"lengths of {name!r} must not be negative or NaN")
    if np.isinf(column).any() and math.inf not in marks:
        raise ValueError(f"lengths of {name!r} contain infinity: add math.inf to atoms to show their share")
    return column


def _draw_atoms(ax: Axes, marks: list[float], shares: Mapping[str, list[float]]) -> None:
    """Bars of the shares in a panel to the right."""
    from mpl_toolkits.axes_grid1 import make_axes_locatable  # type: ignore[import-untyped]

    size = f"{8 * len(marks) * len(shares) + 4}%"
    panel = make_axes_locatable(ax).append_axes("right", size, pad=0.5)
    width = 0.8 / len(shares)
    for place, of_name in enumerate(shares.values()):
        centres = np.arange(len(marks)) + (place - (len(shares) - 1) / 2) * width
        bars = panel.bar(centres, of_name, width * 0.9, color=_colour(place), alpha=0.75)
        panel.bar_label(bars, [f"{share:.1%}" if share else "" for share in of_name], fontsize="x-small", padding=1)
    names = ["= ∞" if math.isinf(mark) else f"= {mark:g}" for mark in marks]
    panel.set_xticks(range(len(marks)), names)
    panel.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"], fontsize="x-small")
    panel.set(ylim=(0, 1), xlim=(-0.5, len(marks) - 0.5), xlabel="share of all")


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7.5, 4), layout="constrained")[1]
