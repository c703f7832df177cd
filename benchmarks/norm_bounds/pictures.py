"""Pictures of the appendix: distributions of ratios, and how they depend on width and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from norm_bounds.ratios import SOURCES, Ratios
from relu_regions.apps.reproduction.claims_norms import STATES
from relu_regions.apps.reproduction.pictures import new_figure
from relu_regions.apps.reproduction.results import write_figure
from relu_regions.plot import norm_ratios, norms_along_path

__all__ = ["draw_along_a_segment", "draw_ratios", "draw_sweep"]

COLOURS = dict(zip(STATES, ("tab:gray", "tab:blue", "tab:orange")))


def draw_ratios(found: Mapping[str, Sequence[Ratios]], title: str, stem: Path) -> None:
    """All seeds together: a panel for each source, the three states in it."""
    figure, axes = new_figure(2, 2, title, (6.2, 3.2))
    for ax, source in zip(axes, SOURCES):
        own = {state: [r for r in ratios if r.source == source] for state, ratios in found.items()}
        values = {state: np.concatenate([r.values for r in ratios]) for state, ratios in own.items()}
        weights = {state: np.concatenate([r.weights for r in ratios]) for state, ratios in own.items()}
        norm_ratios(values, ax, weights=weights)
        ax.set_ylim(0, 1.15 * ax.get_ylim()[1])  # room for the legend
        ax.set_title(source, fontsize="small")
        ax.legend(frameon=False, loc="upper left", fontsize="x-small")
    write_figure(figure, stem)


def draw_sweep(records: Sequence[dict[str, Any]], title: str, stem: Path) -> None:
    """Median ratio with its 5 % and 95 % quantiles, on validation data, by width and by depth; beside it, the K."""
    figure, axes = new_figure(2, 2, title, (6.2, 3.2))
    widths = [r for r in records if len(r["hidden"]) == 3]
    depths_of_width: dict[int, set[int]] = {}
    for r in records:
        depths_of_width.setdefault(r["hidden"][0], set()).add(len(r["hidden"]))
    common = max(depths_of_width, key=lambda width: len(depths_of_width[width]))
    depths = [r for r in records if set(r["hidden"]) == {common}]
    for row, (own, measure, name) in enumerate(
        (
            (widths, lambda r: r["hidden"][0], "width of 3 hidden layers"),
            (depths, lambda r: len(r["hidden"]), f"hidden layers of width {common}"),
        )
    ):
        for state in STATES:
            x, low, middle, high, needed = _columns([r for r in own if r["state"] == state], measure)
            axes[2 * row].plot(x, middle, ".-", color=COLOURS[state], label=state)
            axes[2 * row].fill_between(x, low, high, color=COLOURS[state], alpha=0.2, linewidth=0)
            axes[2 * row + 1].plot(x, needed, ".-", color=COLOURS[state], label=state)
        for ax, label in zip(
            axes[2 * row : 2 * row + 2], (r"$\|W_x\|_\infty / \|W\|_\infty$, median and 5 % to 95 %", "K of 99 %")
        ):
            ticks = sorted({measure(r) for r in own})
            ax.set(xscale="log", xlabel=name, ylabel=label, ylim=(0, max(1.1, ax.dataLim.ymax * 1.05)))
            ax.set_xticks(ticks, [str(tick) for tick in ticks])
            ax.set_xticks([], minor=True)
            ax.axhline(1, color="black", linewidth=0.8, linestyle=":")
            ax.yaxis.label.set_size("small")
            ax.legend(frameon=False, fontsize="x-small")
    write_figure(figure, stem)


def draw_along_a_segment(paths: Mapping[str, Any], title: str, stem: Path) -> None:
    """‖W_x‖_∞ along one same-class segment, in each state."""
    figure, axes = new_figure(len(paths), 1, title, (8.5, 2.6))
    for ax, (name, path) in zip(axes, paths.items()):
        norms_along_path(path, ax)
        ax.set_title(name, fontsize="small")
        ax.yaxis.label.set_size("small")
    write_figure(figure, stem)


def _columns(records: Sequence[dict[str, Any]], measure: Any) -> tuple[list[float], ...]:
    """By width or depth: quantiles on validation data, means over the seeds."""
    rows = []
    for x in sorted({measure(record) for record in records}):
        own = [s for r in records if measure(r) == x for s in r["ratios"] if s["source"] == "validation data"]
        quantiles = [float(np.mean([s["quantiles"][q] for s in own])) for q in ("0.05", "0.5", "0.95")]
        rows.append((x, *quantiles, float(np.mean([s["K_of_99_percent"] for s in own]))))
    return tuple(list(column) for column in zip(*rows))
