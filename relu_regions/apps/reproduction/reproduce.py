"""Which experiments there are, and running them one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module

from relu_regions.apps.reproduction.data import load
from relu_regions.apps.reproduction.results import Run
from relu_regions.backends.threads import one_thread

__all__ = ["EXPERIMENTS", "chosen", "reproduce"]


@dataclass(frozen=True)
class Experiment:
    """A module of this package with a function ``reproduce(run)``.

    Attributes:
        shows: in a few words.
        data: the data sets that it needs, other than those that come with scikit-learn.
    """

    shows: str
    data: tuple[str, ...] = ("mnist",)


EXPERIMENTS = {
    "figure1": Experiment("logits between samples, real labels"),
    "figure2": Experiment("logits by principal components, real labels"),
    "figure3": Experiment("figures 1 and 2 for random labels"),
    "figure4": Experiment("pairwise intervals on MNIST by dimension, real against random labels"),
    "figure5": Experiment("intervals along midlines of triangles"),
    "figure6": Experiment("pairwise intervals by depth"),
    "figure7": Experiment("pairwise intervals on CIFAR-10", ("cifar10",)),
    "figure8": Experiment("pairwise intervals on two moons", ()),
    "figure9": Experiment("mean interval and accuracy during training", ("mnist", "cifar10")),
    "beyond_pooling": Experiment("max pooling and maxout", ("mnist", "cifar10")),
    "beyond_regularisation": Experiment("regularisation and architecture against the mean interval"),
    "beyond_breakpoints": Experiment("breakpoints against width, depth and training"),
    "beyond_prediction": Experiment("intervals, margins and norms as predictors of validation accuracy"),
}


def chosen(names: Iterable[str]) -> list[str]:
    """The experiments asked for, in their order and each once; "all" is every one.

    Raises:
        ValueError: there is no experiment of a name.
    """
    wanted = set(names)
    unknown = wanted - set(EXPERIMENTS) - {"all"}
    if unknown:
        raise ValueError(f"there is no {', '.join(sorted(unknown))}: choose from all, {', '.join(EXPERIMENTS)}")
    return [name for name in EXPERIMENTS if name in wanted or "all" in wanted]


def reproduce(names: Iterable[str], run: Run) -> Iterator[str]:
    """Runs experiments; gives the name of each when it is done.

    Interrupted at any moment and started again with the same ``run.out``, it goes on: networks and intervals that were
    finished are read from ``run.cache``.

    Raises:
        FileNotFoundError: a data set that one of them needs is not there; before any of them starts.
        ValueError: there is no experiment of a name, or a file does not hold what it should.
    """
    wanted = chosen(names)
    if not run.quick:
        for data in sorted({data for name in wanted for data in EXPERIMENTS[name].data}):
            load(data, run.data)
    run.out.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        # Lines are shared out among Run.workers instead, which wait for nothing.
        with one_thread():
            import_module(f"relu_regions.apps.reproduction.{name}").reproduce(run)
        yield name
