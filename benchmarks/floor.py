"""The walk against the bare matrix products of its points, and the share of each of its parts.

    python benchmarks/floor.py [--quick] [--only NAME] [--rounds N] [--threads N] [--out FILE.json]

For each network: time of `walk` without bounds (resolve="never") and with them (the default) over the time of nothing
but the matrix products and convolutions at its points, and the share of each part of the walk. The parts are timed from
outside, by functions put around the library's own, each without what the others inside it take. Prints tables, the rate
at which this machine multiplies, and the time for a segment beside SyReNN's where it was measured; writes JSON.
"""

from __future__ import annotations

import functools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import architectures
import torch
from measuring import (
    RANGE,
    Seconds,
    bare_products,
    between_uniform_points,
    gemm_rate,
    in_rounds,
    machine,
    mlp,
    operations,
    parser,
    points_of_products,
    write_json,
)
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.backends import kernel_for
from relu_regions.lines.line_batch import LineBatch
from relu_regions.network.steps import AffineStep
from relu_regions.walking import sweep, walker

NEVER, BOUNDED, PRODUCTS = "walk, no bounds", "walk", "bare products"
# Milliseconds for a segment: SyReNN's C++ called in-process, float32, on one core of another machine, and what the bare
# products of the first network took there in float64. Few runs: ±30 %.
SYRENN = {"784-128-128-128-10": 0.53, "784-512-10": 0.26, "2-64-64-2": 0.027, "784-1024-1024-1024-10, He": 105.0}
PRODUCTS_THERE = 0.35


@dataclass(frozen=True)
class Case:
    """A network, the segments to walk, and their range of t."""

    name: str
    model: nn.Module
    x: Tensor
    d: Tensor
    t_range: tuple[float, float] = RANGE


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "floor")
    command.add_argument("--only", help="only networks whose name holds this")
    command.add_argument("--rounds", type=int, help="times that everything is measured (default 5; quick 1)")
    command.add_argument("--threads", type=int, nargs="+", help="of torch (default 1 and all)")
    options = command.parse_args(arguments)
    rounds, before = options.rounds or (1 if options.quick else 5), torch.get_num_threads()
    networks, rates = [], {}
    for threads in options.threads or sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        rates[threads] = gemm_rate() / 1e9
        print(f"\n{machine()}, float64, {rates[threads]:.1f} GFLOP/s in 1024 x 1024 products, {rounds} rounds")
        for case in cases(options.quick):
            if (options.only or "") in case.name:
                networks.append(measured(case, rounds) | {"threads": threads})
                print_table(networks[-1])
    torch.set_num_threads(before)
    print_beside_syrenn(networks)
    write_json({"machine": machine(), "rounds": rounds, "gflops": rates, "networks": networks}, options.out)
    return 0


def cases(quick: bool) -> Iterator[Case]:
    """The networks of the benchmark."""
    widths = [((784, 128, 128, 128, 10), 100), ((784, 512, 10), 100), ((2, 64, 64, 2), 500)]
    for sizes, segments in [((16, 8, 8, 2), 4)] if quick else widths:
        torch.manual_seed(0)
        yield Case("-".join(map(str, sizes)), mlp(*sizes).double(), *between_uniform_points(segments, sizes[0]))
    if not quick:
        torch.manual_seed(0)
        he = mlp(784, 1024, 1024, 1024, 10, he=True).double()
        yield Case("784-1024-1024-1024-10, He", he, *between_uniform_points(4, 784))
    width, reach = (2, 0.01) if quick else (4, 0.2)
    drawn = architectures.Case(f"VGG-like CNN, width {width}", "vgg", width, reach, 1.0, 0)
    model = drawn.model()
    yield Case(drawn.name, model, *drawn.line(model), (0.0, reach))


# ---------------------------------------------------------------- measuring


def measured(case: Case, rounds: int) -> dict[str, Any]:
    """All figures of one network."""
    network = rr.Network.from_module(case.model, case.x.shape[1:])
    paths = rr.walk(network, case.x, case.d, case.t_range, resolve="never", progress=False)
    products = points_of_products(paths)
    walks = {
        name: lambda resolve=resolve: rr.walk(network, case.x, case.d, case.t_range, resolve=resolve, progress=False)
        for name, resolve in ((NEVER, "never"), (BOUNDED, "auto"))
    }
    # Few enough rows that a block of the widest value stays in the cache.
    block = max(16, (1 << 17) // max(math.prod(step.shape) for step, _ in products))
    times = in_rounds({PRODUCTS: bare_products(products, block), **walks}, rounds)
    return {
        "network": case.name,
        "segments": len(case.x),
        "breakpoints": int(paths.breakpoint_counts.sum()),
        "settled": int(rr.walk(network, case.x, case.d, case.t_range, progress=False).settled.sum()),
        "gflop": operations(products) / 1e9,
        "methods": {name: figures(own, times[PRODUCTS]) for name, own in times.items()},
        "shares": {name: shares(walk) for name, walk in walks.items()},
    }


def figures(own: list[Seconds], products: list[Seconds]) -> dict[str, float]:
    """The best CPU time, and quotients by the products': of the best CPU times, and the median on the clock."""
    cpu, least = (min(seconds.cpu for seconds in times) for times in (own, products))
    wall = statistics.median(seconds.wall / other.wall for seconds, other in zip(own, products))
    return {"cpu": cpu, "wall": min(s.wall for s in own), "cpu_by_products": cpu / least, "wall_by_products": wall}


# ---------------------------------------------------------------- parts


def parts() -> dict[str, list[tuple[Any, str]]]:
    """The functions that make up each part, by where they are looked up."""
    kernel = kernel_for(torch.device("cpu"))
    bounds = ("affine", "start", "gate", "inserted", "applied", "multiplied")
    found = {
        "matrix products": [(AffineStep, "__call__"), (AffineStep, "overwrite"), (torch, "mm")],
        "placing": [(kernel, "place")],
        "inserting": [(kernel, "insert")],
        "bending": [(kernel, "bend"), (kernel, "bend_and_multiply")],
        "bounds": [(sweep.Certainty, name) for name in bounds],
        "recording": [(sweep, "record_gate")],
        "collecting": [(walker.Collected, name) for name in ("__init__", "add", "paths")],
        "settling": [(walker, name) for name in ("worth_settling", "settle", "with_settled")],
        "input": [(LineBatch, "of")],
    }
    if hasattr(kernel, "loops"):
        from relu_regions.backends.cpu import chain_loops, chain_points, chained, unfolding

        # A chain's rows are made, compared with 0 and written in one pass.
        found |= {
            "columns": [(kernel.loops, "multiply")],
            "unfolding": [(unfolding, "unfold"), (unfolding, "add_up")],
            "rows": [(chain_loops, "through_gate"), (chain_loops, "outputs")],
        }
        found["bounds"] += [(chain_points, "nearness"), (chain_points, "bounds")]
        found["recording"] += [(chain_points, "insert"), (chain_points, "record")]
        found["collecting"] += [(chain_points, "bent"), (chained, "_joined")]
    return found


class Stopwatch:
    """CPU seconds of each part, what it calls of other parts left out."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = ["the rest"]
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        name = self._running[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed as this part."""

        @functools.wraps(function)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self._switch()
            self._running.append(part)
            try:
                return function(*arguments, **named)
            finally:
                self._switch()
                self._running.pop()

        return wrapped

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time the parts while the context lasts."""
        replaced = []
        for part, functions in parts().items():
            for owner, name in functions:
                replaced.append((owner, name, vars(owner)[name]))
                wrapped = self.around(part, getattr(owner, name))
                setattr(owner, name, staticmethod(wrapped) if owner is LineBatch else wrapped)
        self._since = time.process_time()
        try:
            yield
            self._switch()
        finally:
            for owner, name, original in replaced:
                setattr(owner, name, original)


def shares(walk: Callable[[], object]) -> dict[str, float]:
    """The share of each part in the CPU time of the fastest of three walks, on one thread."""
    watches, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(3):
        watches.append(Stopwatch())
        with watches[-1].watching():
            walk()
    torch.set_num_threads(threads)
    best = min(watches, key=lambda watch: sum(watch.seconds.values())).seconds
    total = sum(best.values())
    return {part: best.get(part, 0.0) / total for part in [*parts(), "the rest"]}


# ---------------------------------------------------------------- telling


def print_table(figures: dict[str, Any]) -> None:
    """One network's figures."""
    each, methods = 1000 / figures["segments"], figures["methods"]
    mean = figures["breakpoints"] / figures["segments"]
    print(f"\n{figures['network']}: {mean:.1f} breakpoints per segment, {figures['settled']} of", end=" ")
    print(f"{figures['segments']} settled, {1e6 * figures['gflop'] / figures['breakpoints']:.1f} kFLOP per breakpoint")
    print(f"{'':16}  CPU ms/segment  / products  clock ms/segment  / products")
    for name, own in methods.items():
        cells = f"{each * own['cpu']:14.4f}  {own['cpu_by_products']:10.2f}"
        print(f"{name:16}  {cells}  {each * own['wall']:16.4f}  {own['wall_by_products']:10.2f}")
    for name, own in figures["shares"].items():
        print(f"{name}: " + ", ".join(f"{part} {share:.0%}" for part, share in own.items() if share >= 0.005))


def print_beside_syrenn(networks: list[dict[str, Any]]) -> None:
    """One thread beside SyReNN, with this machine's time scaled by the products of the first network."""
    alone = {own["network"]: own for own in networks if own["threads"] == 1}
    first = next(iter(SYRENN))
    if first not in alone:
        return
    products = 1000 * alone[first]["methods"][PRODUCTS]["cpu"] / alone[first]["segments"]
    factor = products / PRODUCTS_THERE
    print(
        f"\nBeside SyReNN, measured elsewhere; the products of {first} took {PRODUCTS_THERE} ms per segment there and",
        end=" ",
    )
    print(f"{products:.2f} here, so its times are multiplied by {factor:.2f}. An indication, no measurement.")
    for name, milliseconds in SYRENN.items():
        if name in alone:
            own = {k: 1000 * v["cpu"] / alone[name]["segments"] for k, v in alone[name]["methods"].items()}
            quotients = " and ".join(f"{own[method] / milliseconds / factor:.2f}" for method in (NEVER, BOUNDED))
            print(f"{name:26} {milliseconds * factor:8.3f} ms, walk without and with bounds / it: {quotients}")


if __name__ == "__main__":
    sys.exit(main())
