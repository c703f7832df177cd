"""Exact intervals against sampled ones: time, error, memory, and the walk against its bare matrix products.

    python benchmarks/exact_vs_sampled.py [--quick] [--device cuda] [--out FILE.json]

Prints a table for each network and writes all figures as JSON. benchmarks/README.md says what they mean.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.directions import pairs
from relu_regions.experiments.data import load
from relu_regions.experiments.training import TrainingConfig, train
from relu_regions.sampling import sampled_interval

RANGE = (-1.0, 2.0)
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
        seconds: for all segments.
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="few segments, one round, no 4096 samples: a check that it runs"
    )
    parser.add_argument("--segments", type=int, help="segments of each network (default 300; quick 30)")
    parser.add_argument("--rounds", type=int, help="times that everything is measured (default 3; quick 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--out", type=Path, default=Path("results/exact_vs_sampled.json"), help="where to write the JSON"
    )
    options = parser.parse_args(arguments)
    segments = options.segments or (30 if options.quick else 300)
    rounds = options.rounds or (1 if options.quick else 3)
    resolutions = RESOLUTIONS[:-1] if options.quick else RESOLUTIONS
    report = {
        "machine": machine(options.device),
        "segments": segments,
        "rounds": rounds,
        "t_range": RANGE,
        "networks": [],
    }
    print(
        f"{report['machine']}\n{segments} segments of each network, t in {list(RANGE)}, float64, median of {rounds} rounds"
    )
    for case in cases(segments, options.device):
        figures = measured(case, resolutions, rounds)
        print_table(figures)
        report["networks"].append(figures)
    write_json(report, options.out)
    print(f"\nAll figures: {options.out}")
    return 0


# ---------------------------------------------------------------- the networks


def cases(segments: int, device: str) -> list[Case]:
    """The networks of the benchmark and segments for each."""
    torch.manual_seed(0)
    first = mlp(784, 128, 128, 128, 10)
    x, there = torch.rand(2, segments, 784, dtype=torch.float64)
    found = [Case("784-128-128-128-10, first weights, uniform points", first, x, there - x)]
    digits = load("digits").flattened().per_class(100)
    permuted = digits.permuted_labels(0)
    config = TrainingConfig((64, 128, 128, 128, 10), learning_rate=0.05, momentum=0.9, batch_size=50, max_epochs=1000)
    labels = torch.stack([digits.y_train, permuted.y_train])
    for name, data, trained in zip(
        ("real", "random"), (digits, permuted), train(digits.x_train, labels, [0, 1], config, progress=False)
    ):
        lines = pairs(data.x_train, data.y_train, number=segments)
        title = f"64-128-128-128-10 on digits, {name} labels, same-class pairs"
        found.append(Case(title, trained.model(), lines.x, lines.d))
    return [Case(c.name, c.model.double().to(device), c.x.to(device), c.d.to(device)) for c in found]


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, in eval mode."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


# ---------------------------------------------------------------- measuring


def measured(case: Case, resolutions: tuple[int, ...], rounds: int) -> dict:
    """All figures of one network, every method once in each round."""
    network = rr.Network.from_module(case.model, case.x.shape[1:])
    x, d, device = case.x, case.d, case.x.device
    paths = rr.walk(network, x, d, RANGE)
    points = points_of_layers(case.model, paths)
    methods: dict[str, Callable[[], object]] = {
        "exact": lambda: rr.exact_interval(network, x, d, RANGE),
        **{
            f"{num} samples": lambda num=num: sampled_interval(network, x, d, RANGE, num=num, progress=False)
            for num in resolutions
        },
        "128 samples, first layer shared": lambda: first_layer_shared(case.model, x, d, 128),
        "whole walk": lambda: rr.walk(network, x, d, RANGE, progress=False),
        PRODUCTS: bare_products(case.model, points, device),
        PRODUCTS_IN_CACHE: bare_products(case.model, points, device, in_cache=True),
    }
    answers = {name: method() for name, method in methods.items()}  # also compiles and warms up
    memory = {name: peak_memory(method, device) for name, method in methods.items()}
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            times[name].append(timed(method, device))
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


def quotient(times: list[float], others: list[float]) -> float:
    """Median of the quotients of times taken in the same round."""
    return statistics.median(a / b for a, b in zip(times, others))


def errors(answer: object, exact: rr.Interval) -> dict:
    """How far an answer is from the exact one."""
    if not isinstance(answer, rr.Interval):
        return {"mean_error": None, "max_error": None, "missed_exits": None}
    ends = torch.stack([answer.lo - exact.lo, answer.hi - exact.hi]).abs()
    missed = (answer.lo < exact.lo) | (answer.hi > exact.hi)
    return {"mean_error": ends.mean().item(), "max_error": ends.max().item(), "missed_exits": int(missed.sum())}


def points_of_layers(model: nn.Sequential, paths: rr.Paths) -> list[int]:
    """How many points each linear layer has to be applied to: two for the first, then all found before it."""
    layers = sum(isinstance(layer, nn.Linear) for layer in model)
    gate = torch.full((len(paths.t),), layers, device=paths.t.device)
    gate.scatter_reduce_(0, paths.flips.row, paths.flips.gate, "amin")
    # Both ends of every segment and t = 0, from which the walk starts, are there from the first gate on.
    starts = 3 * len(paths)
    return [2 * len(paths)] + [starts + int((gate < number).sum()) for number in range(1, layers)]


def bare_products(
    model: nn.Sequential, points: list[int], device: torch.device, in_cache: bool = False
) -> Callable[[], None]:
    """Nothing but these layers' matrix products, into memory that is there already.

    Either on all points of a layer at once, or block by block, always on the same numbers: then nothing but the
    arithmetic is left.
    """
    weights = [layer.weight.detach().T for layer in model if isinstance(layer, nn.Linear)]
    sizes = [min(number, 2048) if in_cache else number for number in points]
    inputs = [torch.rand(size, len(w), dtype=torch.float64, device=device) for size, w in zip(sizes, weights)]
    outputs = [torch.zeros(size, w.shape[1], dtype=torch.float64, device=device) for size, w in zip(sizes, weights)]

    def multiply() -> None:
        for number, size, weight, values, out in zip(points, sizes, weights, inputs, outputs):
            for start in range(0, number, size):
                rows = min(size, number - start)
                torch.mm(values[:rows], weight, out=out[:rows])

    return multiply


@torch.no_grad()
def first_layer_shared(model: nn.Sequential, x: Tensor, d: Tensor, num: int) -> Tensor:
    """The labels at samples of a line, the first layer evaluated at x and along d only: sampling's best case."""
    t = torch.linspace(*RANGE, num, dtype=x.dtype, device=x.device)[None, :, None]
    at_x, along_d = model[0](x)[:, None], (d @ model[0].weight.T)[:, None]
    rows = range(0, len(x), max(1, 8192 // num))
    labels = [model[1:]((at_x[i : i + rows.step] + t * along_d[i : i + rows.step]).flatten(0, 1)) for i in rows]
    return torch.cat(labels).argmax(1)


def timed(method: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    method()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_memory(method: Callable[[], object], device: torch.device) -> int:
    """Bytes that a call takes at its peak, its result included: allocated on CUDA, else resident."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        method()
        return torch.cuda.max_memory_allocated() - before
    if sys.platform == "linux":
        # What was freed goes back to the system, so that it is counted when it is taken again.
        ctypes.CDLL(None).malloc_trim(0)
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        kept = method()
        peak = max(peak, process.memory_info().rss)
        del kept
    finally:
        done.set()
        watcher.join()
    return peak - before


# ---------------------------------------------------------------- telling


def machine(device: str) -> str:
    """What the figures were measured on."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores, torch {torch.__version__}"


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


def write_json(report: dict, path: Path) -> None:
    """Write to a temporary name that then gets its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
