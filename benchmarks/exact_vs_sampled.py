"""Exact intervals against sampled ones: time, error, memory, and the walk against its bare matrix products.

    python benchmarks/exact_vs_sampled.py [--quick] [--device cuda] [--out FILE.json]

Prints a table for each network and writes all figures as JSON. benchmarks/README.md says what they mean.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from measuring import (
    RANGE,
    bare_products,
    between_uniform_points,
    in_rounds,
    machine,
    mlp,
    parser,
    peak_memory,
    points_of_products,
    quotient,
    write_json,
)
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.apps.reproduction.batched_sgd import TrainingConfig
from relu_regions.apps.reproduction.data import load
from relu_regions.apps.reproduction.training import train
from relu_regions.intervals.sampling import sampled_interval
from relu_regions.lines.directions import pairs

PRODUCTS, PRODUCTS_IN_CACHE = "the walk's matrix products", "the same, out of the cache"
RESOLUTIONS = (64, 128, 256, 1024, 4096)


@dataclass(frozen=True)
class Case:
    """A network and the segments to walk."""

    name: str
    model: nn.Sequential
    x: Tensor
    d: Tensor


@dataclass(frozen=True)
class Row:
    """What one method took and gave; times are medians over the rounds.

    Attributes:
        seconds: for all segments; on a CPU its cores' time together.
        ratio: median of the times' quotients, this method by exact_interval in the same round.
        mean_error, max_error: distance of an end of an interval from the exact one, over all ends.
        missed_exits: intervals that reach past an exact end, where the class changed and changed back unseen.
        memory: bytes at the peak beyond those before the call.
    """

    method: str
    seconds: float
    ratio: float
    mean_error: float | None
    max_error: float | None
    missed_exits: int | None
    memory: int


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "exact_vs_sampled")
    command.add_argument("--segments", type=int, help="segments of each network (default 300; quick 10)")
    command.add_argument("--rounds", type=int, help="times that everything is measured (default 3; quick 1)")
    command.add_argument("--device", default="cpu", help="cpu or cuda")
    options = command.parse_args(arguments)
    segments = options.segments or (10 if options.quick else 300)
    rounds = options.rounds or (1 if options.quick else 3)
    resolutions = RESOLUTIONS[:2] if options.quick else RESOLUTIONS
    report = {
        "machine": machine(options.device),
        "segments": segments,
        "rounds": rounds,
        "t_range": RANGE,
        "networks": [],
    }
    print(
        f"{report['machine']}\n{segments} segments of each network, t in {list(RANGE)}, float64, median of {rounds} "
        "rounds"
    )
    for case in cases(segments, options.device, options.quick):
        figures = measured(case, resolutions, rounds)
        print_table(figures)
        report["networks"].append(figures)
    write_json(report, options.out)
    return 0


# ---------------------------------------------------------------- the networks


def cases(segments: int, device: str, quick: bool) -> list[Case]:
    """The networks of the benchmark and segments for each."""
    torch.manual_seed(0)
    first = mlp(784, 128, 128, 128, 10)
    lines = between_uniform_points(segments, 784)
    found = [Case("784-128-128-128-10, first weights, uniform points", first, *lines)]
    digits = load("digits").flattened().per_class(5 if quick else 100)
    permuted = digits.permuted_labels(0)
    config = TrainingConfig((64, 128, 128, 128, 10), learning_rate=0.05, momentum=0.9, batch_size=50, max_epochs=1000)
    labels = torch.stack([digits.y_train, permuted.y_train])
    for name, data, trained in zip(
        ("real", "random"), (digits, permuted), train(digits.x_train, labels, [0, 1], config, progress=False)
    ):
        chosen = pairs(data.x_train, data.y_train, number=segments)
        title = f"64-128-128-128-10 on digits, {name} labels, same-class pairs"
        found.append(Case(title, trained.model(), chosen.x, chosen.d))
    return [Case(c.name, c.model.double().to(device), c.x.to(device), c.d.to(device)) for c in found]


# ---------------------------------------------------------------- measuring


def measured(case: Case, resolutions: tuple[int, ...], rounds: int) -> dict:
    """All figures of one network, every method once in each round."""
    network = rr.Network.from_module(case.model, case.x.shape[1:])
    x, d, device = case.x, case.d, case.x.device
    paths = rr.walk(network, x, d, RANGE)
    products = points_of_products(paths)
    methods: dict[str, Callable[[], object]] = {
        "exact": lambda: rr.exact_interval(network, x, d, RANGE),
        **{
            f"{num} samples": lambda num=num: sampled_interval(network, x, d, RANGE, num=num, progress=False)
            for num in resolutions
        },
        "128 samples, first layer shared": lambda: first_layer_shared(case.model, x, d, 128),
        "whole walk": lambda: rr.walk(network, x, d, RANGE, progress=False),
        PRODUCTS: bare_products(products),
        PRODUCTS_IN_CACHE: bare_products(products, 2048),
    }
    answers = {name: method() for name, method in methods.items()}
    memory = {name: peak_memory(method, device) for name, method in methods.items()}
    taken = in_rounds(methods, rounds, device)
    times = {name: [each.cpu if device.type == "cpu" else each.wall for each in own] for name, own in taken.items()}
    exact = answers["exact"]
    rows = [
        Row(
            method=name,
            seconds=statistics.median(times[name]),
            ratio=quotient(times[name], times["exact"]),
            memory=memory[name],
            **errors(answers[name], exact),
        )
        for name in methods
    ]
    counts = paths.breakpoint_counts.double()
    return {
        "network": case.name,
        "segments": len(x),
        "breakpoints": {"mean": counts.mean().item(), "min": int(counts.min()), "max": int(counts.max())},
        "mean_length": exact.length.mean().item(),
        "walk_by_products": quotient(times["whole walk"], times[PRODUCTS]),
        "walk_by_products_in_cache": quotient(times["whole walk"], times[PRODUCTS_IN_CACHE]),
        "methods": [asdict(row) for row in rows],
    }


def errors(answer: object, exact: rr.Interval) -> dict:
    """How far an answer is from the exact one."""
    if not isinstance(answer, rr.Interval):
        return {"mean_error": None, "max_error": None, "missed_exits": None}
    ends = torch.stack([answer.lo - exact.lo, answer.hi - exact.hi]).abs()
    missed = (answer.lo < exact.lo) | (answer.hi > exact.hi)
    return {"mean_error": ends.mean().item(), "max_error": ends.max().item(), "missed_exits": int(missed.sum())}


@torch.no_grad()
def first_layer_shared(model: nn.Sequential, x: Tensor, d: Tensor, num: int) -> Tensor:
    """The labels at samples of a line, the first layer evaluated at x and along d only: sampling's best case."""
    t = torch.linspace(*RANGE, num, dtype=x.dtype, device=x.device)[None, :, None]
    at_x, along_d = model[0](x)[:, None], (d @ model[0].weight.T)[:, None]
    rows = range(0, len(x), max(1, 8192 // num))
    labels = [model[1:]((at_x[i : i + rows.step] + t * along_d[i : i + rows.step]).flatten(0, 1)) for i in rows]
    return torch.cat(labels).argmax(1)


# ---------------------------------------------------------------- telling


def print_table(figures: dict) -> None:
    """One network's figures."""
    bends = figures["breakpoints"]
    print(f"\n{figures['network']}")
    print(f"{bends['mean']:.1f} breakpoints per segment ({bends['min']} to {bends['max']}); ", end="")
    print(f"mean interval {figures['mean_length']:.4f}")
    print(f"{'':31}  ms/segment  / exact  mean error  largest error  missed exits  memory")
    for row in figures["methods"]:
        cells = [f"{row['method']:31}", f"{1000 * row['seconds'] / figures['segments']:10.3f}", f"{row['ratio']:7.2f}"]
        if row["mean_error"] is None:
            cells += [" " * 10, " " * 13, " " * 12]
        else:
            cells += [f"{row['mean_error']:10.2g}", f"{row['max_error']:13.2g}", f"{row['missed_exits']:12}"]
        print("  ".join([*cells, f"{row['memory'] / 2**20:3.0f} MiB"]))
    ratios = figures["walk_by_products"], figures["walk_by_products_in_cache"]
    print("whole walk / its matrix products: {:.2f}; / the same, out of the cache: {:.2f}".format(*ratios))


if __name__ == "__main__":
    sys.exit(main())
