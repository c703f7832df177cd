"""`relu-regions demo`: from training on real digits to exact intervals, in seconds.

Needs the extra "demo" (scikit-learn and rich).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from torch import Tensor

from relu_regions.apps.reproduction.batched_sgd import TrainingConfig
from relu_regions.apps.reproduction.data import Dataset, load
from relu_regions.apps.reproduction.training import TrainedNetwork, train
from relu_regions.backends.threads import one_thread
from relu_regions.intervals.interval import Interval, exact_interval
from relu_regions.intervals.sampling import sampled_interval
from relu_regions.lines.directions import Lines, pairs
from relu_regions.network.network import Network
from relu_regions.plot import interval_density, logits_along_path
from relu_regions.plot.files import replacing
from relu_regions.walking.walker import walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Sampling", "run_demo"]

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Sampling:
    """Sampled intervals beside the exact ones.

    Attributes:
        num: samples of each line.
        interval: the sampled answer.
        seconds: that it took.
        mean_error, max_error: distance of an end from the exact one, over all ends of all lines.
        missed: how many intervals reach beyond an exact end: the class changed and changed back unseen.
    """

    num: int
    interval: Interval
    seconds: float
    mean_error: float
    max_error: float
    missed: int

    @classmethod
    def of(cls, num: int, interval: Interval, seconds: float, exact: Interval) -> Sampling:
        """Compare with the exact answer."""
        errors = torch.stack([interval.lo - exact.lo, interval.hi - exact.hi]).abs()
        missed = (interval.lo < exact.lo) | (interval.hi > exact.hi)
        return cls(num, interval, seconds, float(errors.mean()), float(errors.max()), int(missed.sum()))


@dataclass(frozen=True)
class Comparison:
    """One network's intervals, exact and sampled.

    Attributes:
        name: of the network.
        trained: the network and how its training ended.
        lines: the same-class pairs of the sample.
        exact: their intervals.
        seconds: that the exact answer took.
        samplings: the same by sampling, in order of resolution.
    """

    name: str
    trained: TrainedNetwork
    lines: Lines
    exact: Interval
    seconds: float
    samplings: list[Sampling]

    @property
    def full_length(self) -> float:
        """Length of an interval that never ends within the range."""
        low, high = self.lines.t_range
        return high - low


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    per_class: int = 10,
    resolutions: Sequence[int] = (16, 64, 256, 1024),
    console: Console | None = None,
) -> list[Comparison]:
    """Train, compute every same-class pairwise interval exactly and by sampling, print a table, draw pictures.

    Args:
        out: folder for the pictures, made if it is not there.
        seed: of the data, the weights and the sample.
        per_class: samples of each class whose pairs are walked; at least 2.
        resolutions: numbers of samples of each line.
        console: where to print; standard output by default.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: per_class is less than 2 or more than there are.
    """
    if per_class < 2:
        raise ValueError(f"a pair needs two samples of a class, got per_class={per_class}")
    out.mkdir(parents=True, exist_ok=True)
    console = console or Console()
    started = time.perf_counter()
    with _progress(console) as bar:
        with one_thread():
            networks = list(_networks(seed, bar))
        task = bar.add_task("intervals", total=len(networks) * (1 + len(resolutions)))
        comparisons = [
            _compare(name, trained, _sample_pairs(data, per_class), resolutions, lambda: bar.advance(task))
            for name, data, trained in networks
        ]
    console.print(
        "Generalization intervals: how far along the line through two samples of a class\n"
        "(t = 0 and t = 1; t runs from -1 to 2) the network's class stays that at t = 0.\n",
        highlight=False,
    )
    for comparison in comparisons:
        console.print(_table(comparison))
    pictures = {"interval_densities.png": _densities, "logits_along_paths.png": _paths}
    for name, draw in pictures.items():
        _save(draw(comparisons[:2]), out / name)
    threads = torch.get_num_threads()
    console.print(f"{time.perf_counter() - started:.0f} s in all, on {threads} thread{'s' * (threads > 1)}.")
    for name in pictures:
        console.print(f"Picture: {out / name}", soft_wrap=True, highlight=False)
    return comparisons


# ---------------------------------------------------------------- networks and lines


def _networks(seed: int, bar: Progress) -> Iterator[tuple[str, Dataset, TrainedNetwork]]:
    task = bar.add_task("training", total=2)
    digits = load("digits", seed=seed).flattened().per_class(100, seed=seed)
    permuted = digits.permuted_labels(seed)
    config = TrainingConfig((64, 128, 128, 128, 10), learning_rate=0.05, momentum=0.9, batch_size=50, max_epochs=1000)
    labels = torch.stack([digits.y_train, permuted.y_train])
    real, random = train(digits.x_train, labels, [2 * seed, 2 * seed + 1], config, progress=False)
    bar.advance(task)
    yield "Digits, real labels", digits, real
    yield "Digits, random labels", permuted, random
    moons = load("two_moons", seed=seed)
    config = replace(config, widths=(2, 32, 32, 2), batch_size=30)
    (plane,) = train(moons.x_train, moons.y_train, [seed], config, progress=False)
    bar.advance(task)
    yield "Two moons, real labels", moons, plane


def _sample_pairs(data: Dataset, per_class: int) -> Lines:
    chosen = data.per_class(per_class)
    return pairs(chosen.x_train, chosen.y_train)


def _compare(
    name: str,
    trained: TrainedNetwork,
    lines: Lines,
    resolutions: Sequence[int],
    advance: Callable[[], None],
) -> Comparison:
    network = Network.from_module(trained.model(), lines.points.shape[1:])
    x, d = lines.x, lines.d
    # The first call on a machine compiles what the following ones use.
    exact_interval(network, x[:1], d[:1], lines.t_range)
    exact, seconds = _timed(lambda: exact_interval(network, x, d, lines.t_range))
    advance()
    samplings = []
    for num in resolutions:
        sampled, took = _timed(
            lambda num=num: sampled_interval(network, x, d, lines.t_range, num=num, progress=False)  # type: ignore[misc]
        )
        samplings.append(Sampling.of(num, sampled, took, exact))
        advance()
    return Comparison(name, trained, lines, exact, seconds, samplings)


def _timed(compute: Callable[[], Answer]) -> tuple[Answer, float]:
    started = time.perf_counter()
    answer = compute()
    return answer, time.perf_counter() - started


# ---------------------------------------------------------------- what is shown


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _table(comparison: Comparison) -> Table:
    trained = comparison.trained
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{comparison.name} ({len(comparison.lines):,} lines)\n{'-'.join(map(str, trained.config.widths))} "
        f"network, {trained.errors} training errors after {trained.epochs} epochs",
        title_justify="left",
        title_style="bold",
        pad_edge=False,
    )
    table.add_column("method")
    for header in (
        "mean\nlength", "never\nends", "missed\nexits", "mean\nerror", "largest\nerror", "seconds", "time /\nexact"
    ):  # fmt: skip
        table.add_column(header, justify="right")
    table.add_row("exact", *_summary(comparison.exact.length, comparison), "0", "0", "0", *_times(comparison))
    for sampling in comparison.samplings:
        table.add_row(
            f"{sampling.num} samples",
            *_summary(sampling.interval.length, comparison),
            f"{sampling.missed:,}",
            f"{sampling.mean_error:.2g}",
            f"{sampling.max_error:.2g}",
            *_times(comparison, sampling.seconds),
        )
    return table


def _summary(length: Tensor, comparison: Comparison) -> tuple[str, str]:
    never = (length == comparison.full_length).double().mean()
    return f"{float(length.mean()):.4f}", f"{float(never):.1%}"


def _times(comparison: Comparison, seconds: float | None = None) -> tuple[str, str]:
    seconds = comparison.seconds if seconds is None else seconds
    return f"{seconds:.3f}", f"{seconds / comparison.seconds:.2f}"


def _densities(comparisons: Sequence[Comparison]) -> Figure:
    figure, (ax,) = _figure(1, height=3.6)
    interval_density(
        {comparison.name: comparison.exact.length for comparison in comparisons},
        atoms=comparisons[0].full_length,
        ax=ax,
    )
    ax.set_title("Exact generalization intervals between samples of a class, $t$ in [−1, 2]", fontsize="medium")
    return figure


def _paths(comparisons: Sequence[Comparison]) -> Figure:
    figure, axes = _figure(len(comparisons), height=3.4 * len(comparisons))
    for ax, comparison in zip(axes, comparisons):
        lines, exact = comparison.lines, comparison.exact
        # A typical one of those that end on both sides; of all, where there is none.
        inside = ((exact.label_lo >= 0) & (exact.label_hi >= 0)).nonzero()[:, 0]
        inside = inside if len(inside) else torch.arange(len(exact))
        chosen = int(inside[exact.length[inside].argsort()[len(inside) // 2]])
        line = lines[chosen]
        path = walk(comparison.trained.model(), line.x, line.d, line.t_range)[0]
        logits_along_path(path, ax)
        low, high = float(exact.lo[chosen]), float(exact.hi[chosen])
        ax.axvline(1, color="black", linewidth=0.8, linestyle=":")
        ax.annotate(
            "", (low, 0.05), (high, 0.05), xycoords=ax.get_xaxis_transform(),
            arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        ax.set_xlabel("$t$, from one sample ($t = 0$) to another of its class ($t = 1$)")
        ax.set_title(f"{comparison.name}: exact interval [{low:.3f}, {high:.3f}]".replace("-", "−"), fontsize="medium")
    return figure


def _figure(rows: int, height: float) -> tuple[Figure, list[Axes]]:
    # Not pyplot's: no window, and nothing is left in its list of open figures.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, height), layout="constrained")
    return figure, list(figure.subplots(rows, squeeze=False)[:, 0])


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
