"""How the experiments draw: panels of densities, logits and curves, without windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from relu_regions.network.arrays import Floats
from relu_regions.paths.paths import Path
from relu_regions.plot import interval_density, logits_along_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["density_panels", "logit_panels", "new_figure"]


def new_figure(rows: int, columns: int, title: str, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of rows × columns axes, each of a size in inches; no window, and none left in a list of open ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.4), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def density_panels(title: str, panels: Sequence[tuple[str, Mapping[str, Floats], float]]) -> Figure:
    """Exact histograms side by side, the share of the full length apart.

    Args:
        title: of the figure.
        panels: a title, lengths by name, and the full length, for each.
    """
    columns = 1 if len(panels) < 4 else 2
    figure, axes = new_figure(-(-len(panels) // columns), columns, title, (6.4, 2.9))
    for ax, (name, lengths, full) in zip(axes, panels):
        interval_density(lengths, full, ax, bins=60)
        ax.set_title(name, fontsize="small")
    return figure


def logit_panels(title: str, paths: Sequence[tuple[str, Path, int]]) -> Figure:
    """Logits along paths, below each other.

    Args:
        title: of the figure.
        paths: a title, the path, and the class whose logit is bold, for each.
    """
    figure, axes = new_figure(len(paths), 1, title, (8.5, 2.6))
    for ax, (name, path, label) in zip(axes, paths):
        logits_along_path(path, ax, label=label)
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.05), borderaxespad=0, frameon=False, fontsize="x-small")
        ax.set_title(name, fontsize="small")
    return figure
