"""‖W_x‖ of ten thousand regions against the bare matrix products that the maps need.

    python benchmarks/norms.py [--quick] [--device cuda] [--out FILE.json]

Segments with t in [-1, 2] between uniform points of [0, 1]^784, through 784-128-128-128-10 with its first weights.

- carried from region to region: `norms_along`; W is carried on by the low-rank change that the flips of units make.
- each from its pattern: `norms_of`; the outputs' rows go back through the network for each region.
- products, outputs first: nothing but the products of W_4 D W_3 D W_2 D W_1 from the left, into memory that is there
  already, all regions at once; the diagonal factors and the norms are not in it.
- the same, out of the cache: block by block of 64 regions on the same numbers, so that only the arithmetic is left.
- products, inputs first: the same from the right, W_2 times W_1 first (timed on some of the regions and scaled).

Quotients are taken within a round, and their medians shown. Prints a table and writes all figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.norms import norms_along, norms_of
from relu_regions.patterns import patterns_along

SIZES = (784, 128, 128, 128, 10)
UPDATED, ANEW = "carried from region to region", "each from its pattern"
PRODUCTS, IN_CACHE, FORWARDS = "products, outputs first", "the same, out of the cache", "products, inputs first"
# The order that starts at the inputs takes tens of times as long, so it is timed on some of the regions.
FORWARDS_SHARE = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few regions and rounds: only to see that it runs")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "norms.json")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    figures = measure(500 if arguments.quick else 10_000, 2 if arguments.quick else 9, device)
    print_table(figures)
    report = {"machine": machine(arguments.device), "quick": arguments.quick, **figures}
    write_json(report, arguments.out)
    print(f"\nwritten to {arguments.out}")
    return 0


@torch.no_grad()
def measure(regions: int, rounds: int, device: torch.device) -> dict:
    """Times of all methods, taken in turn."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in pairwise(SIZES):
        layers += [nn.Linear(before, after), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).double().eval().to(device)
    x, target = torch.rand(2, math.ceil(regions / 150), SIZES[0], dtype=torch.float64, device=device)
    paths = rr.walk(model, x, target - x, (-1.0, 2.0), resolve="never", progress=False)
    count = int(paths.region_offsets[-1])
    patterns = patterns_along(paths, 0, count)
    weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    methods: dict[str, Callable[[], object]] = {
        UPDATED: lambda: norms_along(paths, math.inf),
        ANEW: lambda: norms_of(paths.network, patterns, math.inf),
        PRODUCTS: bare_products(weights, count, count, device),
        IN_CACHE: bare_products(weights, count, 64, device),
        FORWARDS: inputs_first(weights, count // FORWARDS_SHARE, device),
    }
    kinds = {f"carried, p = {p}": p for p in (1, 2, "fro")}
    methods |= {name: lambda p=p: norms_along(paths, p) for name, p in kinds.items()}  # type: ignore[misc]
    difference = (norms_along(paths, math.inf) / norms_of(paths.network, patterns, math.inf) - 1).abs().max().item()
    times: dict[str, list[float]] = {name: [] for name in methods}
    for method in methods.values():
        method()  # warms up
    for _ in range(rounds):
        for name, method in methods.items():
            scale = FORWARDS_SHARE if name == FORWARDS else 1
            times[name].append(timed(method, device) * scale)
    return {
        "network": "-".join(map(str, SIZES)),
        "segments": len(paths),
        "regions": count,
        "largest_relative_difference": difference,
        "methods": [
            {
                "method": name,
                "seconds": statistics.median(own),
                "by_products": quotient(own, times[PRODUCTS]),
                "by_products_in_cache": quotient(own, times[IN_CACHE]),
                "by_products_inputs_first": quotient(own, times[FORWARDS]),
            }
            for name, own in times.items()
        ],
    }


def bare_products(weights: list[Tensor], count: int, block: int, device: torch.device) -> Callable[[], None]:
    """W_L D … D W_1 of every region from the outputs' side, the cheaper one: nothing but the products.

    A block of regions goes together, always on the same numbers and into memory that is there already.
    """
    rows = block * weights[-1].shape[0]
    inputs = [torch.rand(rows, len(w), dtype=w.dtype, device=device) for w in weights[:-1]]
    outputs = [torch.zeros(rows, w.shape[1], dtype=w.dtype, device=device) for w in weights[:-1]]

    def multiply() -> None:
        for start in range(0, count, block):
            now = min(block, count - start) * weights[-1].shape[0]
            for weight, values, out in zip(weights, inputs, outputs):
                torch.mm(values[:now], weight, out=out[:now])

    return multiply


def inputs_first(weights: list[Tensor], count: int, device: torch.device) -> Callable[[], None]:
    """W_L D … D W_1 of every region from the inputs' side, again nothing but the products."""
    inputs = [torch.rand(w.shape[1], weights[0].shape[1], dtype=w.dtype, device=device) for w in weights[1:]]
    outputs = [torch.zeros(len(w), weights[0].shape[1], dtype=w.dtype, device=device) for w in weights[1:]]

    def multiply() -> None:
        for _ in range(count):
            for weight, values, out in zip(weights[1:], inputs, outputs):
                torch.mm(weight, values, out=out)

    return multiply


def timed(method: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    method()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def quotient(times: list[float], others: list[float]) -> float:
    """Median of the quotients of times taken in the same round."""
    return statistics.median(a / b for a, b in zip(times, others))


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
    """All methods, each beside the products."""
    print(f"{figures['network']}: {figures['regions']:,} regions on {figures['segments']} segments, float64, p = inf")
    print(f"largest relative difference between the two ways: {figures['largest_relative_difference']:.1e}\n")
    print(f"{'':30}  seconds  / products  / in cache  / inputs first")
    for row in figures["methods"]:
        ratios = row["by_products"], row["by_products_in_cache"], row["by_products_inputs_first"]
        print(f"{row['method']:30}  {row['seconds']:7.3f}  {ratios[0]:10.2f}  {ratios[1]:10.2f}  {ratios[2]:14.4f}")


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
