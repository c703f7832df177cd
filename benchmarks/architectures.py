"""Convolutional networks of CIFAR size: exact walks beside the networks' own forward passes, and their memory.

    python benchmarks/architectures.py [--quick | --wide] [--only vgg | resnet18] [--out FILE.json]

The networks have random weights and batch norm statistics that are not trivial. For each of them

1. `walk` finds every breakpoint of a segment. The model's own float64 forward pass is timed on just these points, in
   the same process, and must agree with the walk's logits. The ratio of the two times is the figure that matters.
2. `exact_interval` looks for the generalization interval on the line to an input of another class.
3. `walk` goes along segments 1, 4 and 16 times as long under one memory budget: peak memory must not follow.

Prints two tables and writes all figures as JSON. Every measurement has a process of its own; memory is what that
process holds at its peak beyond what it held just before.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch
from measuring import Seconds, machine, parser, peak_memory, quotient, timed, write_json
from torch import Tensor, nn

import relu_regions as rr
from relu_regions.exactness.resolving import Resolve

SHAPE = (3, 32, 32)
CLASSES = 10
# Logits that agree to this are those of one network: both sides only round.
AGREEMENT = 1e-10


# ---------------------------------------------------------------- networks


def vgg(width: int) -> nn.Sequential:
    """Three pairs of 3×3 convolutions, each with batch norm and ReLU, with max pooling; two linear layers."""
    layers: list[nn.Module] = []
    channels = SHAPE[0]
    for wider in (width, 2 * width, 4 * width):
        for _ in range(2):
            layers += [nn.Conv2d(channels, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU()]
            channels = wider
        layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(channels * 16, 8 * width), nn.ReLU(), nn.Linear(8 * width, CLASSES)]
    return nn.Sequential(*layers, *head)


class Block(nn.Module):
    """The basic block of a residual network."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet18(width: int) -> nn.Sequential:
    """ResNet-18 as for CIFAR: 17 convolutions with shortcuts, average pooling and a linear layer."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage, stride in enumerate((1, 2, 2, 2)):
        for place in range(2):
            outputs = width * 2**stage
            layers.append(Block(channels, outputs, stride if place == 0 else 1))
            channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


@dataclass(frozen=True)
class Case:
    """A network and the segments it is walked along.

    Attributes:
        reach: the upper end of t of the segment to walk; an input of another class lies at t = 1.
        far: how far on both sides the end of the generalization interval is looked for.
        budget: bytes for the walks; a quarter of it where memory is what is measured.
    """

    name: str
    architecture: str
    width: int
    reach: float
    far: float
    budget: int

    def model(self) -> nn.Sequential:
        """In float64 and eval mode, its batch norms with the statistics of random inputs, then disturbed."""
        torch.manual_seed(0)
        model = {"vgg": vgg, "resnet18": resnet18}[self.architecture](self.width).double()
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # the mean over all batches
        with torch.no_grad():
            model.train()(images(64, seed=0))
            for norm in norms:
                norm.running_mean += 0.3 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
                norm.running_var *= 0.5 + 1.5 * torch.rand_like(norm.running_var)
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.3)
            # No class wins everywhere.
            model[-1].bias -= model.eval()(images(64, seed=0)).mean(0)
        return model

    def line(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """The input of the least sure class, and the direction to one of the next class; each ``(1, 3, 32, 32)``."""
        inputs = images(64, seed=1)
        with torch.no_grad():
            best = model(inputs).topk(2)
        at = int((best.values[:, 0] - best.values[:, 1]).argmin())
        rivals = best.indices[:, 0] == best.indices[at, 1]
        other = int((rivals if rivals.any() else best.indices[:, 0] != best.indices[at, 0]).nonzero()[0])
        return inputs[at : at + 1], inputs[other : other + 1] - inputs[at : at + 1]


def images(count: int, seed: int) -> Tensor:
    """Smooth random pictures with a little noise, ``(count, 3, 32, 32)`` float64."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, dtype=torch.float64, generator=generator)
    smooth = nn.functional.interpolate(coarse, SHAPE[1:], mode="bilinear")
    return smooth + 0.1 * torch.randn(count, *SHAPE, dtype=torch.float64, generator=generator)


@dataclass(frozen=True)
class Options:
    """How everything is measured.

    Attributes:
        threads: of torch.
        rounds: how often walk and forward pass are timed, in turn; the figures are medians.
        resolve: as for `walk`.
    """

    threads: int
    rounds: int
    resolve: Resolve


MEBIBYTE = 1 << 20
CASES = [
    Case("VGG-like, width 16", "vgg", 16, 0.04, 0.1, 256 * MEBIBYTE),
    Case("ResNet-18-like, width 8", "resnet18", 8, 0.02, 0.1, 256 * MEBIBYTE),
]
WIDE_CASES = [
    Case("VGG-like, width 64", "vgg", 64, 0.001, 0.002, 512 * MEBIBYTE),
    Case("ResNet-18, width 64", "resnet18", 64, 0.0004, 0.002, 512 * MEBIBYTE),
]
QUICK_CASES = [
    Case("VGG-like, width 2", "vgg", 2, 0.008, 0.02, 16 * MEBIBYTE),
    Case("ResNet-18-like, width 2", "resnet18", 2, 0.008, 0.02, 16 * MEBIBYTE),
]


# ---------------------------------------------------------------- measuring


@cache
def prepared(case: Case, options: Options) -> tuple[nn.Module, rr.Network, Tensor, Tensor]:
    """The model, its reading and its line, with everything loaded and compiled that the first call would load."""
    torch.set_num_threads(options.threads)
    model = case.model()
    x, d = case.line(model)
    network = rr.Network.from_module(model, SHAPE)
    short = (0, case.reach / 100)
    rr.walk(network, x, d, short, resolve="never")
    rr.exact_interval(network, x, d, short, resolve="never")
    return model, network, x, d


def forward(model: nn.Module, x: Tensor, d: Tensor, t: Tensor, batch: int = 32) -> Tensor:
    """The model's own logits at points of a line."""
    with torch.no_grad():
        return torch.cat([model(x + part.view(-1, 1, 1, 1) * d) for part in t.split(batch)])


def best_batch(model: nn.Module, x: Tensor, d: Tensor) -> int:
    """The size of batch with which the forward pass is fastest."""
    t = torch.zeros(32, dtype=torch.float64)
    return min((1, 2, 4, 8, 16, 32), key=lambda batch: timed(lambda: forward(model, x, d, t, batch)).wall)


def measure_walk(case: Case, options: Options) -> dict[str, Any]:
    """The walk beside the model's own forward pass at the breakpoints, both once in each round."""
    model, network, x, d = prepared(case, options)

    def walk() -> rr.Paths:
        return rr.walk(network, x, d, (0, case.reach), resolve=options.resolve, memory_budget=case.budget)

    found: list[rr.Paths] = []
    peak = peak_memory(lambda: found.append(walk()))
    path = found[0][0]
    batch = best_batch(model, x, d)
    expected = forward(model, x, d, path.breakpoints, batch)
    times, forward_times = [], []
    for _ in range(options.rounds):
        times.append(timed(walk))
        forward_times.append(timed(lambda: forward(model, x, d, path.breakpoints, batch)))
    error = float((path.outputs[1:-1] - expected).abs().max() / expected.abs().max())
    if not error <= AGREEMENT:
        raise SystemExit(f"{case.name}: the walk differs from the forward pass by {error:.2g}")
    return {
        "units": network.units,
        "breakpoints": len(path.breakpoints),
        "certain": bool(found[0].certain.all()),
        "walk_seconds": statistics.median(seconds.wall for seconds in times),
        "forward_seconds": statistics.median(seconds.wall for seconds in forward_times),
        "forward_batch": batch,
        "ratio": quotient([seconds.cpu for seconds in times], [seconds.cpu for seconds in forward_times]),
        "ratio_on_the_clock": quotient([s.wall for s in times], [s.wall for s in forward_times]),
        "peak_bytes": peak,
        "largest_relative_difference": error,
    }


def measure_interval(case: Case, options: Options) -> dict[str, Any]:
    """The generalization interval on both sides, and the forward pass just inside and just beyond its ends."""
    model, network, x, d = prepared(case, options)
    results: list[rr.Interval] = []
    taken: list[Seconds] = []
    reach = (-case.far, case.far)

    def search() -> None:
        results.append(rr.exact_interval(network, x, d, reach, memory_budget=case.budget, resolve=options.resolve))

    peak = peak_memory(lambda: taken.append(timed(search)))
    found = results[0]
    ends = torch.cat([found.lo, found.hi])
    around = forward(model, x, d, torch.cat([ends * (1 - 1e-9), ends * (1 + 1e-9)])).argmax(1)
    changes = torch.cat([found.label_lo, found.label_hi])
    if (around[:2] != found.label).any() or ((around[2:] != changes) & (changes >= 0)).any():
        raise SystemExit(f"{case.name}: the model's class does not change where the interval ends")
    return {
        "interval": [found.lo.item(), found.hi.item()],
        "interval_seconds": taken[0].wall,
        "interval_peak_bytes": peak,
    }


def measure_memory(case: Case, options: Options, times: int) -> dict[str, Any]:
    """A walk along a segment so many times as long, on a budget that the shortest one nearly fills."""
    _, network, x, d = prepared(case, options)
    reach, budget = case.reach / 4 * times, case.budget // 4
    found: list[rr.Paths] = []
    peak = peak_memory(
        lambda: found.append(rr.walk(network, x, d, (0, reach), memory_budget=budget, resolve=options.resolve))
    )
    return {
        "times": times,
        "budget": budget,
        "breakpoints": int(found[0].breakpoint_counts),
        "peak_bytes": peak,
    }


def in_a_fresh_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Call a function where nothing was allocated before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# ---------------------------------------------------------------- the report


def measured(case: Case, options: Options, fresh: bool) -> dict[str, Any]:
    """All measurements of a case."""

    def call(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        return in_a_fresh_process(function, *arguments) if fresh else function(*arguments)

    result = asdict(case) | call(measure_walk, case, options) | call(measure_interval, case, options)
    result["memory"] = [call(measure_memory, case, options, times) for times in (1, 4, 16)]
    return result


def mebibytes(size: int) -> str:
    """For the tables."""
    return f"{size / MEBIBYTE:,.0f} MiB"


def print_tables(results: Sequence[dict[str, Any]]) -> None:
    """Print the two tables."""
    print(
        "| network | units | breakpoints | walk | forward at these | ratio (processor time) | peak "
        "| exact_interval | its peak |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for r in results:
        print(
            f"| {r['name']} | {r['units']:,} | {r['breakpoints']:,} | {r['walk_seconds']:.2f} s "
            f"| {r['forward_seconds']:.2f} s | {r['ratio']:.2f} | {mebibytes(r['peak_bytes'])} "
            f"| [{r['interval'][0]:.3g}, {r['interval'][1]:.3g}] in {r['interval_seconds']:.2f} s "
            f"| {mebibytes(r['interval_peak_bytes'])} |"
        )
    print("\n| network, budget | segment | breakpoints | peak |")
    print("| --- | --- | --- | --- |")
    for r in results:
        for m in r["memory"]:
            print(
                f"| {r['name']}, {mebibytes(m['budget'])} | ×{m['times']} | {m['breakpoints']:,} "
                f"| {mebibytes(m['peak_bytes'])} |"
            )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options_of = parser(__doc__, "architectures")
    options_of.add_argument(
        "--wide", action="store_true", help="64 channels in the first layer, as a ResNet-18 has: minutes"
    )
    options_of.add_argument("--only", choices=("vgg", "resnet18"), help="one network alone")
    options_of.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()), help="of torch (default 2)")
    options_of.add_argument(
        "--rounds", type=int, help="times that walk and forward pass are timed (default 3; quick 1)"
    )
    options_of.add_argument(
        "--resolve",
        choices=("never", "auto"),
        default="never",
        help="never: the float64 walk alone (default); auto: with bounds of its rounding",
    )
    options = options_of.parse_args(arguments)
    chosen = Options(options.threads, options.rounds or (1 if options.quick else 3), options.resolve)
    cases = QUICK_CASES if options.quick else WIDE_CASES if options.wide else CASES
    cases = [case for case in cases if options.only in (None, case.architecture)]
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    name = machine()
    print(f"{name}; float64, resolve={options.resolve!r}\n")
    try:
        results = [measured(case, chosen, fresh=not options.quick) for case in cases]
    finally:
        torch.set_num_threads(threads)
    print_tables(results)
    write_json({"machine": name, "resolve": options.resolve, "networks": results}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
