"""Beyond the paper: convolutional networks with max pooling, and maxout, which the paper leaves open (section 5).

Densities of pairwise intervals for real and random labels, compared as claim (a) is, and mean interval and accuracy
during training.
"""

from __future__ import annotations

from relu_regions.apps.reproduction.densities import Panel, density_figure, pairs_of
from relu_regions.apps.reproduction.figure9 import correlation_panel, draw_training, follow
from relu_regions.apps.reproduction.networks import Setup, networks
from relu_regions.apps.reproduction.results import Run, write_figure
from relu_regions.apps.reproduction.statistics import Numbers

__all__ = ["reproduce"]

NAME = "beyond_pooling"

# A line through the convolutional network has thousands of breakpoints: fewer lines than elsewhere.
PANELS = tuple(
    Panel(name, detail, Setup(data, architecture=architecture), pairs_of(), number)
    for name, detail, data, architecture, number in (
        ("cnn_mnist", "convolutions and max pooling", "mnist", "cnn", 200),
        ("cnn_cifar10", "convolutions and max pooling", "cifar10", "cnn", 100),
        ("maxout_mnist", "maxout, 64-64 units of 2 pieces", "mnist", "maxout", 500),
    )
)
EPOCHS = (0, 1, 2, 4, 8, 16)


def reproduce(run: Run) -> Numbers:
    """Computes the figure, writes its JSON and pictures; those of the training are ``beyond_pooling_training``."""
    title = "Beyond the paper: pairwise intervals with max pooling and maxout"
    return density_figure(run, NAME, title, PANELS, lambda _: {"training": _training(run)})


def _training(run: Run) -> list[Numbers]:
    epochs = EPOCHS[: run.pick(len(EPOCHS), 5)]
    panels = []
    for panel in PANELS:
        # Plain SGD, as in figure 9, but for the momentum that a quick run needs.
        setup = panel.setup.with_training(
            momentum=0.9 if run.quick else 0.0, target_loss=1e-12, max_epochs=epochs[-1], checkpoints=epochs
        )
        members = networks(run, setup, ("real",))
        number = run.pick(20 if setup.architecture == "cnn" else 200, 10)
        followed = [follow(run, member, epochs, number) for member in members["real"]]
        data = members["real"][0].data.name
        about = {"name": panel.name, "data": panel.name, "samples": data}
        about |= {"architecture": setup.architecture, "labels": "real"}
        panels.append({**about, **correlation_panel(followed)})
    title = "Beyond the paper: mean interval and accuracy during training"
    write_figure(draw_training(run.title(title), panels), run.out / f"{NAME}_training")
    return panels
