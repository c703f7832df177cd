"""‖W_x‖ of ten thousand regions against the bare matrix products that the maps need.

    python benchmarks/norms.py [--quick] [--device cuda] [--out FILE.json]

Segments with t in [-1, 2] between uniform points of [0, 1]^784, through 784-128-128-128-10 with its first weights.

- carried from region to region: `norms_along`; W is carried on by the low-rank change that the flips of units make.
- each from its pattern: `norms_of`; the outputs' rows go back through the network for each region.
- products, outputs first: nothing but the products of W_4 D W_3 D W_2 D W_1 from the left, into memory that is there
  already, all regions at once; the diagonal factors and the norms are not in it.
- the same, out of the cache: block by block of 64 regions on the same numbers, so that only the arithmetic is left.
- products, inputs first: the same from the right, W_2 times W_1 first (timed on some of the regions and scaled).

On a CPU times are processor times, those of all threads added up. Quotients are taken within a round, and their
medians shown. Prints a table and writes all figures as JSON.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable

import torch
from measuring import RANGE, between_uniform_points, in_rounds, machine, mlp, parser, quotient, write_json
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.regions.norms import norms_of

SIZES = (784, 128, 128, 128, 10)
UPDATED, ANEW = "carried from region to region", "each from its pattern"
PRODUCTS, IN_CACHE, FORWARDS = "products, outputs first", "the same, out of the cache", "products, inputs first"
# The order that starts at the inputs takes tens of times as long, so it is timed on some of the regions.
FORWARDS_SHARE = 50


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "norms")
    command.add_argument("--device", default="cpu", help="cpu or cuda")
    options = command.parse_args(arguments)
    figures = measure(100 if options.quick else 10_000, 2 if options.quick else 9, torch.device(options.device))
    print_table(figures)
    write_json({"machine": machine(options.device), "quick": options.quick, **figures}, options.out)
    return 0


@torch.no_grad()
def measure(regions: int, rounds: int, device: torch.device) -> dict:
    """Times of all methods, taken in turn."""
    torch.manual_seed(0)
    model = mlp(*SIZES).double().to(device)
    x, d = (part.to(device) for part in between_uniform_points(math.ceil(regions / 150), SIZES[0]))
    paths = rr.walk(model, x, d, RANGE, resolve="never", progress=False)
    count = int(paths.region_offsets[-1])
    patterns = paths.patterns()
    weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    methods: dict[str, Callable[[], object]] = {
        UPDATED: lambda: paths.norms(math.inf),
        ANEW: lambda: norms_of(paths.network, patterns, math.inf),
        PRODUCTS: bare_products(weights, count, count, device),
        IN_CACHE: bare_products(weights, count, 64, device),
        FORWARDS: inputs_first(weights, count // FORWARDS_SHARE, device),
    }
    kinds = {f"carried, p = {p}": p for p in (1, 2, "fro")}
    methods |= {name: lambda p=p: paths.norms(p) for name, p in kinds.items()}  # type: ignore[misc]
    difference = (paths.norms(math.inf) / norms_of(paths.network, patterns, math.inf) - 1).abs().max().item()
    times = {
        name: [each.cpu if device.type == "cpu" else each.wall for each in own]
        for name, own in in_rounds(methods, rounds, device).items()
    }
    times[FORWARDS] = [seconds * FORWARDS_SHARE for seconds in times[FORWARDS]]
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


def print_table(figures: dict) -> None:
    """All methods, each beside the products."""
    print(f"{figures['network']}: {figures['regions']:,} regions on {figures['segments']} segments, float64, p = inf")
    print(f"largest relative difference between the two ways: {figures['largest_relative_difference']:.1e}\n")
    print(f"{'':30}  seconds  / products  / in cache  / inputs first")
    for row in figures["methods"]:
        ratios = row["by_products"], row["by_products_in_cache"], row["by_products_inputs_first"]
        print(f"{row['method']:30}  {row['seconds']:7.3f}  {ratios[0]:10.2f}  {ratios[1]:10.2f}  {ratios[2]:14.4f}")


if __name__ == "__main__":
    sys.exit(main())
