"""Pictures of how numbers are distributed: lengths of intervals, and norms of regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Floats
from relu_regions.plot.drawing import as_floats, colour, logarithmic, new_axes, plain
from relu_regions.regions.lipschitz_bounds import factor_needed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["interval_density", "norm_ratios"]


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
    ax = new_axes(ax)
    shares = {}
    for place, (name, column) in enumerate(columns.items()):
        rest = column[~np.isin(column, marks)]
        shares[name] = [float((column == mark).mean()) for mark in marks]
        density = np.histogram(rest, edges)[0] / (len(column) * np.diff(edges))
        text = f"{name} ({len(column):,} lines)"
        ax.stairs(density, edges, color=colour(place), fill=True, alpha=0.2)
        ax.stairs(density, edges, color=colour(place), linewidth=1.4, label=text)
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
    column = as_floats(given)
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
        bars = panel.bar(centres, of_name, width * 0.9, color=colour(place), alpha=0.75)
        panel.bar_label(bars, [f"{share:.1%}" if share else "" for share in of_name], fontsize="x-small", padding=1)
    names = ["= ∞" if math.isinf(mark) else f"= {mark:g}" for mark in marks]
    panel.set_xticks(range(len(marks)), names)
    panel.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"], fontsize="x-small")
    panel.set(ylim=(0, 1), xlim=(-0.5, len(marks) - 0.5), xlabel="share of all")


def norm_ratios(
    ratios: Mapping[str, Array],
    ax: Axes | None = None,
    *,
    weights: Mapping[str, Array] | None = None,
    share: float = 0.99,
    bins: int = 60,
) -> Axes:
    """How ‖W_x‖ / ‖W‖ is distributed, on a logarithmic axis, and the K that a share of all needs (paper, appendix A).

    Each histogram has area 1 over the logarithm to base 10. Dashed lines mark the K at or below which the share lies,
    the dotted line a ratio of 1. Ratios of 0 have no place on the axis: the legend gives their share.

    Args:
        ratios: by name, ``(N,)`` each, finite and not negative.
        ax: where to draw; a new figure by default.
        weights: by name, ``(N,)`` each, such as the lengths of regions; equal ones by default.
        share: that the K is for.
        bins: number of bins, from the smallest positive ratio to the largest.

    Raises:
        ValueError: there are no ratios, or none is positive; they are negative, infinite or NaN; or as
            ``relu_regions.bounds.factor_needed``.
    """
    columns = {name: as_floats(given) for name, given in ratios.items()}
    for name, column in columns.items():
        if column.ndim != 1 or not (np.isfinite(column) & (column >= 0)).all():
            raise ValueError(f"ratios of {name!r} must be (N,) finite numbers that are not negative")
    positive = np.concatenate([column[column > 0] for column in columns.values()]) if columns else np.zeros(0)
    if len(positive) == 0:
        raise ValueError("no ratio is positive: there is nothing to show on a logarithmic axis")
    own_weights = {name: np.ones(len(column)) for name, column in columns.items()}
    own_weights |= {name: as_floats(given) for name, given in (weights or {}).items()}
    low, high = np.log10(positive.min()), np.log10(positive.max())
    edges = np.linspace(low - 0.02, high + 0.02, bins + 1)
    ax = new_axes(ax)
    for place, (name, column) in enumerate(columns.items()):
        needed = factor_needed(column, share, own_weights[name])
        weight, shown = own_weights[name] / own_weights[name].sum(), column > 0
        heights = np.histogram(np.log10(column[shown]), edges, weights=weight[shown])[0] / np.diff(edges)
        text = f"{name}: {share:.4g} up to K = {plain(needed)}"
        if not shown.all():
            text += f" ({weight[~shown].sum():.1%} are 0)"
        ax.stairs(heights, 10**edges, color=colour(place), fill=True, alpha=0.15)
        ax.stairs(heights, 10**edges, color=colour(place), linewidth=1.2, label=text)
        if needed > 0:
            ax.axvline(needed, color=colour(place), linewidth=1, linestyle="--")
    ax.axvline(1, color="black", linewidth=0.8, linestyle=":")
    logarithmic(ax, "x")
    ax.set(
        xlim=(10 ** min(edges[0], -0.02), 10 ** max(edges[-1], 0.02)),
        xlabel=r"$\|W_x\|_\infty\; / \;\|W\|_\infty$",
        ylabel="density per factor of 10",
    )
    ax.set_ylim(0, (1.15 + 0.08 * len(columns)) * ax.dataLim.ymax)
    ax.legend(frameon=False, loc="upper left")
    return ax
