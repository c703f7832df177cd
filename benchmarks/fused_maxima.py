"""Walks that know a maximum and the activation beside it as one gate, against walks of every unit.

    python benchmarks/fused_maxima.py [--quick] [--rounds N] [--onnx FILE.onnx ...] [--out FILE.json]

For each convolutional network with max pooling: breakpoints for a line, and the processor time on one core of a walk
with breakpoints="pattern" and with "function", the latter without a proof too, by that of nothing but the matrix
products and convolutions at its points; and of the exact intervals, which fuse always. --onnx adds networks from
files, between random points.
Prints ratios taken in the same round, and writes JSON.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import architectures
import torch
from measuring import bare_products, between_uniform_points, in_rounds, machine, parser, points_of_products, write_json
from torch import Tensor, nn

import relu_regions as rr

PRODUCTS, UNPROVEN, INTERVALS = "bare products", "function, unproven", "intervals"
MODES = ("pattern", "function")


@dataclass(frozen=True)
class Case:
    """A network, and the segments to walk."""

    name: str
    network: rr.Network
    x: Tensor
    d: Tensor
    t_range: tuple[float, float] = (-1.0, 2.0)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "fused_maxima")
    command.add_argument("--rounds", type=int, help="times that everything is measured (default 5; quick 1)")
    command.add_argument("--onnx", type=Path, nargs="*", default=[], help="networks from files, besides")
    options = command.parse_args(arguments)
    rounds, before = options.rounds or (1 if options.quick else 5), torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{machine()}, float64, {rounds} rounds")
    print("Processor time by that of the bare products at the points of function.\n")
    print("                                 breakpoints         time                                      pattern /")
    print(f"{'network':32} pattern  function   pattern  function  unproven  intervals    function")
    networks = []
    for case in cases(options.quick, options.onnx):
        networks.append(measured(case, rounds))
        print_row(networks[-1])
    torch.set_num_threads(before)
    write_json({"machine": machine(), "rounds": rounds, "networks": networks}, options.out)
    return 0


def cases(quick: bool, files: list[Path]) -> Iterator[Case]:
    """The networks of the benchmark."""
    segments, side = (2, 10) if quick else (10, 28)
    for pool in (2, 4):
        places = 8 * ((side - 2) // pool) ** 2
        layers = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(pool), nn.Flatten(), nn.Linear(places, 10))
        network = rr.Network.from_module(nn.Sequential(*layers).double().eval(), (1, side, side))
        yield Case(f"small CNN, {pool}×{pool} pooling", network, *between_uniform_points(segments, 1, side, side))
    width, reach = (2, 0.01) if quick else (4, 0.2)
    drawn = architectures.Case(f"VGG-like CNN, width {width}", "vgg", width, reach, 1.0, 0)
    model = drawn.model()
    x, d = drawn.line(model)
    yield Case(drawn.name, rr.Network.from_module(model, x.shape[1:]), x, d, (0.0, reach))
    for path in files:
        network = rr.Network.from_onnx(path)
        yield Case(path.stem, network, *between_uniform_points(2, *network.input_shape))


def measured(case: Case, rounds: int) -> dict[str, Any]:
    """All figures of one network."""

    def walk(mode: Any, resolve: Any = "auto") -> rr.Paths:
        return rr.walk(case.network, case.x, case.d, case.t_range, breakpoints=mode, resolve=resolve, progress=False)

    found = {mode: walk(mode) for mode in MODES}
    # Before the first gate there are two points for each segment, which cost nothing beside the others.
    products = [(step, count) for step, count in points_of_products(found["function"]) if count > 2 * len(case.x)]
    methods: dict[str, Any] = {
        PRODUCTS: bare_products(products, 512),
        **{mode: lambda mode=mode: walk(mode) for mode in MODES},
    }
    methods[UNPROVEN] = lambda: walk("function", "never")
    methods[INTERVALS] = lambda: rr.exact_interval(case.network, case.x, case.d, case.t_range)
    times = in_rounds(methods, rounds)
    return {
        "network": case.name,
        "segments": len(case.x),
        "breakpoints": {mode: int(paths.breakpoint_counts.sum()) for mode, paths in found.items()},
        "decided_by": {mode: dict(Counter(paths.decided_by)) for mode, paths in found.items()},
        "milliseconds": {name: 1000 * min(s.cpu for s in own) / len(case.x) for name, own in times.items()},
        "by_products": {name: quotient(times[name], times[PRODUCTS]) for name in (*MODES, UNPROVEN, INTERVALS)},
        "pattern_by_function": quotient(times["pattern"], times["function"]),
    }


def quotient(times: list[Any], others: list[Any]) -> float:
    """The median quotient of processor times taken in the same round."""
    return statistics.median(own.cpu / other.cpu for own, other in zip(times, others))


def print_row(figures: dict[str, Any]) -> None:
    """One network's figures."""
    counts, cost = (figures[part] for part in ("breakpoints", "by_products"))
    each = "  ".join(f"{counts[mode] / figures['segments']:8.0f}" for mode in MODES)
    times = "  ".join(f"{cost[name]:8.2f}" for name in (*MODES, UNPROVEN, INTERVALS))
    print(f"{figures['network']:31} {each}  {times}    {figures['pattern_by_function']:8.2f}")


if __name__ == "__main__":
    sys.exit(main())
