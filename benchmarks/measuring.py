"""What the benchmarks share: the machine's name and its rate of products, times, memory, networks, and files."""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.network.steps import AffineStep, GateStep
from relu_regions.plot.files import replacing

RANGE = (-1.0, 2.0)


# ---------------------------------------------------------------- the command


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark has.

    Args:
        description: the script's docstring.
        name: of the JSON file under ``results/``, which the project ignores.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="little work: only to see that it runs")
    default = Path("results") / f"{name}.json"
    made.add_argument("--out", type=Path, default=default, help=f"where to write the JSON (default {default})")
    return made


def machine(device: str = "cpu") -> str:
    """What the figures were measured on."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores, torch {torch.__version__}"


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report, and say where."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nAll figures: {path}")


# ---------------------------------------------------------------- time


@dataclass(frozen=True)
class Seconds:
    """What a call took: on the clock, and of all the processor's cores together."""

    wall: float
    cpu: float


def timed(method: Callable[[], object], device: torch.device | str = "cpu") -> Seconds:
    """The time of one call; on a CUDA device, until the device has done all of it."""
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    kept = method()
    if on_cuda:
        torch.cuda.synchronize()
    seconds = Seconds(time.perf_counter() - wall, time.process_time() - cpu)
    del kept  # to free a result is not what is timed
    return seconds


def quotient(times: Sequence[float], others: Sequence[float]) -> float:
    """Median of the quotients of times taken in the same round."""
    return statistics.median(a / b for a, b in zip(times, others))


def in_rounds(
    methods: dict[str, Callable[[], object]], rounds: int, device: torch.device | str = "cpu"
) -> dict[str, list[Seconds]]:
    """The times of every method, each once in each round, after one call that warms it up."""
    for method in methods.values():
        method()
    times: dict[str, list[Seconds]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            times[name].append(timed(method, device))
    return times


def gemm_rate(dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu", size: int = 1024) -> float:
    """Floating-point operations a second in the product of two square matrices, the best of some.

    On a processor by the time that torch's threads compute, so that other work on its cores does not count.
    """
    left, right = torch.rand(2, size, size, dtype=dtype, device=device)
    out = torch.empty_like(left)
    times = [timed(lambda: torch.mm(left, right, out=out), device) for _ in range(12)]
    if torch.device(device).type == "cpu":
        return 2 * size**3 / min(seconds.cpu for seconds in times) * torch.get_num_threads()
    return 2 * size**3 / min(seconds.wall for seconds in times)


# ---------------------------------------------------------------- memory


def peak_memory(method: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Bytes that a call takes at its peak, its result included: allocated on CUDA, else resident."""
    if torch.device(device).type == "cuda":
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


# ---------------------------------------------------------------- networks, lines, and their bare products


def mlp(*widths: int, he: bool = False) -> nn.Sequential:
    """Linear layers with ReLU between them, in eval mode; with torch's first weights or He's."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        if he:
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def between_uniform_points(segments: int, *shape: int) -> tuple[Tensor, Tensor]:
    """x, and d to another point, both uniform in the unit cube; float64."""
    x, there = torch.rand(2, segments, *shape, dtype=torch.float64)
    return x, there - x


def points_of_products(paths: rr.Paths) -> list[tuple[AffineStep, int]]:
    """The network's matrices and convolutions, and on how many points a walk needs each of them.

    Two for each segment up to the first gate, where the network is affine on the whole line; then every point that
    was found by then.
    """
    first_gate = torch.full((len(paths.t),), len(paths.network.gates), device=paths.t.device)
    first_gate.scatter_reduce_(0, paths.flips.row, paths.flips.gate, "amin")
    # Both ends of every segment and t = 0, from which the walk starts, are there from the first gate on.
    starts, passed, found = 3 * len(paths), 0, []
    for step in paths.network.steps:
        if isinstance(step, GateStep):
            passed += 1
        elif step.constants and step.terms > 1:
            points = starts + int((first_gate < passed).sum()) if passed else 2 * len(paths)
            found.append((step, points))
    return found


def bare_products(products: list[tuple[AffineStep, int]], block: int | None = None) -> Callable[[], None]:
    """Nothing but these products: no bias, no gates, and for a matrix no new memory.

    Args:
        products: what points_of_products gives.
        block: rows that are multiplied at once, always the same ones, so that the processor has them near and nothing
            but the arithmetic is left; None for all at once.
    """
    calls = []
    for step, points in products:
        constant = step.constants[0]
        size = min(points, block or points)
        # A convolution's input has as many numbers as its channels and the output's places say, if it keeps its size.
        shape = (constant.shape[1],) if step.is_matrix else (constant.shape[1], *_places_before(step))
        values = torch.rand(size, *shape, dtype=constant.dtype, device=constant.device)
        out = values.new_zeros(size, *step.shape) if step.is_matrix else None
        calls.append((step, points, values, out))

    @torch.no_grad()
    def multiply() -> None:
        for step, points, values, out in calls:
            for start in range(0, points, len(values)):
                rows = min(len(values), points - start)
                if out is None:
                    step.linear(values[:rows])
                else:
                    torch.mm(values[:rows], step.constants[0].T, out=out[:rows])

    return multiply


def _places_before(step: AffineStep) -> tuple[int, ...]:
    """The places of the input of a convolution that keeps their number."""
    probe = torch.zeros(1, step.constants[0].shape[1], *step.shape[1:], dtype=step.constants[0].dtype)
    if step.linear(probe.to(step.constants[0].device)).shape[1:] != step.shape:
        raise ValueError(f"{step.origin} changes the number of places")
    return step.shape[1:]


def operations(products: list[tuple[AffineStep, int]]) -> int:
    """Floating-point operations in these products."""
    return sum(2 * math.prod(step.shape) * math.prod(step.constants[0].shape[1:]) * points for step, points in products)
