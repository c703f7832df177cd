"""What all pictures share: axes, colours, and numbers as numpy has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from relu_regions.lines.line_batch import Array
from relu_regions.network.arrays import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["as_floats", "colour", "logarithmic", "new_axes", "plain", "plain_ticks"]


def as_floats(given: Array) -> Floats:
    """Any tensor or array as float64 numbers of numpy."""
    return np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given, dtype=np.float64)


def colour(k: int) -> Any:
    """The colour of a class, or of the k-th of several things."""
    import matplotlib

    if k < 10:
        # Its grey gives way to black: grey are the classes that win nowhere.
        return "black" if k == 7 else matplotlib.colormaps["tab10"](k)
    # Hues a golden section apart stay distinct for longest.
    return matplotlib.colormaps["hsv"]((k * 0.6180339887498949) % 1)


def new_axes(
    ax: Axes | None,
    size: tuple[float, float] = (7.5, 4),
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Axes:
    """The axes given, or those of a new figure of so many inches; "compressed" if both axes have one scale."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout=layout)[1]


def logarithmic(ax: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks also where it spans less than a power of 10."""
    ax.set(**{f"{which}scale": "log"})
    plain_ticks(ax.xaxis if which == "x" else ax.yaxis)


def plain_ticks(axis: Any) -> None:
    """Give a logarithmic axis, such as that of a bar of colours, plain numbers at its ticks."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain(x) if super().__call__(x, pos) else ""

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(minor_thresholds=(1.5, 0.5)))


def plain(number: float) -> str:
    """Three digits, without a power of 10."""
    return np.format_float_positional(float(f"{number:.3g}"), trim="-")
