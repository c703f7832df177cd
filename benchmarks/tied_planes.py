"""Planes in which signs tie: what it takes to prove them.

    python benchmarks/tied_planes.py [--quick] [--rounds N] [--out FILE.json]

Networks without biases around the origin, with equal units, with whole numbers and with lines that pass through one
point, on the square [−1, 1]², and triangles of digits of a class through a convolutional network with max pooling:
how many planes are proven, in how many of them rational arithmetic cut a face, and the processor time of walk_plane and
of rational.walk_plane by that of walk_plane without bounds. float64, one thread. Prints a table, and writes JSON.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import in_rounds, machine, mlp, parser, quotient, write_json
from torch import Tensor, nn

import relu_regions as rr

SQUARE = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
# Rational arithmetic takes up to a millisecond a face, and more with convolutions.
FACES_IN_RATIONAL = 2000

Case = tuple[nn.Module, Tensor, Tensor, Tensor, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "tied_planes")
    command.add_argument("--rounds", type=int, help="times that everything is measured (default 3; quick 1)")
    options = command.parse_args(arguments)
    rounds, before = options.rounds or (1 if options.quick else 3), torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"{machine()}, float64, {rounds} rounds\n")
    print(f"{'':26} {'planes':>6} {'proven':>6} {'settled':>7} {'faces':>8} {'/ never':>8} {'rational / never':>17}")
    rows = []
    for name, case in cases(options.quick).items():
        rows.append({"case": name} | measured(case(), rounds))
        print_row(rows[-1])
    torch.set_num_threads(before)
    write_json({"machine": machine(), "rounds": rounds, "cases": rows}, options.out)
    return 0


def cases(quick: bool) -> dict[str, Callable[[], Case]]:
    """What is walked, by what ties in it."""
    width = 8 if quick else 64
    return {
        "no biases": partial(without_biases, width),
        "equal units": partial(with_equal_units, width),
        "whole numbers": partial(of_whole_numbers, width // 2),
        "three lines at one point": partial(with_a_bundle, 2 * width),
        "digits, max pooling": partial(digits, 2 if quick else 8, 1 if quick else 10),
    }


def in_two_inputs(model: nn.Module) -> Case:
    """The square of all inputs."""
    x, u, v = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    return model, x, u, v, SQUARE


def plain(width: int) -> nn.Sequential:
    """Two layers with torch's first weights."""
    torch.manual_seed(0)
    return mlp(2, width, width, 2).double()


@torch.no_grad()
def without_biases(width: int) -> Case:
    """Every line passes through the origin."""
    model = plain(width)
    for layer in model[::2]:
        layer.bias.zero_()
    return in_two_inputs(model)


@torch.no_grad()
def with_equal_units(width: int) -> Case:
    """A quarter of the units share their lines with others, half of these with twice the weights."""
    model, eighth = plain(width), width // 8
    for layer in (model[0], model[2]):
        for parameter in (layer.weight, layer.bias):
            parameter[width // 2 :][:eighth] = 2 * parameter[:eighth]
            parameter[width // 2 :][eighth : 2 * eighth] = parameter[eighth : 2 * eighth]
    return in_two_inputs(model)


@torch.no_grad()
def of_whole_numbers(width: int) -> Case:
    """Weights and biases are eights of torch's first ones, rounded."""
    model = plain(width)
    for parameter in model.parameters():
        parameter.copy_(torch.round(8 * parameter))
    return in_two_inputs(model)


@torch.no_grad()
def with_a_bundle(width: int) -> Case:
    """Three of the first layer's lines meet at one point."""
    model = plain(width)
    model[0].weight[:3] = torch.tensor([[1.0, 0.25], [0.5, -1.0], [-0.75, 0.5]])
    model[0].bias[:3] = -model[0].weight[:3] @ torch.tensor([0.25, 0.125], dtype=torch.float64)
    return in_two_inputs(model)


def digits(channels: int, count: int) -> Case:
    """Triangles of a class, through two convolutions with max pooling, trained a little; images are blank in parts."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16).view(-1, 1, 8, 8), torch.tensor(labels)
    torch.manual_seed(0)
    blocks: list[nn.Module] = []
    for inputs in (1, channels):
        blocks += [nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4 * channels, 10)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return (model.eval(), *rr.directions.triangles(x, y, number=count).planes)


def measured(case: Case, rounds: int) -> dict[str, Any]:
    """What is proven of some planes, and times by that without bounds."""
    model, *planes = case
    network = rr.Network.from_module(model, planes[0].shape[1:])
    walk = partial(rr.walk_plane, network, *planes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rr.UnprovenWarning)
        found = walk()
        methods: dict[str, Callable[[], object]] = {"never": partial(walk, resolve="never"), "auto": walk}
        times = in_rounds(methods, rounds)
    faces = int(found.face_counts.sum())
    never = [seconds.cpu for seconds in times["never"]]
    rational = None
    if faces <= FACES_IN_RATIONAL:
        exact = in_rounds({"rational": partial(rr.rational.walk_plane, network, *planes)}, 1)["rational"] * rounds
        rational = quotient([seconds.cpu for seconds in exact], never)
    return {
        "planes": len(found),
        "proven": int(found.certain.sum()),
        "settled": int(found.settled.sum()),
        "faces": faces,
        "by_never": quotient([seconds.cpu for seconds in times["auto"]], never),
        "rational_by_never": rational,
    }


def print_row(row: dict[str, Any]) -> None:
    """One case."""
    exact = "" if row["rational_by_never"] is None else f"{row['rational_by_never']:17.1f}"
    counts = f"{row['planes']:6} {row['proven']:6} {row['settled']:7} {row['faces']:8,}"
    print(f"{row['case']:26} {counts} {row['by_never']:8.1f} {exact}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
