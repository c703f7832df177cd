"""The float64 walk with its default settings against the rational walk, on small random networks.

    python benchmarks/agreement.py [--quick] [--count 1000] [--out FILE.json]

Dense networks (ReLU, leaky ReLU, a clipped ReLU, maxout) and convolutional ones with max pooling, ordinary and
degenerate: without biases, with equal units, with biases one float apart, with units that never act, with whole-number
weights, with most weights zero. Lines between random points, through the origin, on whole numbers, and of one
coordinate.

A network agrees if the walk has the same breakpoints (how many, which units flip at each, from which piece to which),
the same pattern in its first region, every t within its bound, and the interval the same classes, tie and ends. Prints
a table and writes it as JSON.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import torch
from measuring import machine, parser, write_json
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational

KINDS = ["dense", "maxout", "convolution, max pooling", "max pooling, then ReLU"]
FLAVOURS = ["ordinary", "no biases", "equal units", "one float apart", "dead units", "whole numbers", "zeros"]
LINES = ["between points", "through the origin", "whole numbers", "one coordinate"]
RANGES = [(-1.0, 2.0), (-math.inf, math.inf), (-50.0, 0.0)]


class Maxout(nn.Module):
    """The larger of each two neighbouring numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, 2).amax(-1)


def random_model(seed: int, kind: str, flavour: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A float64 network in eval mode, and the shape of its input; equal arguments give equal networks."""
    torch.manual_seed(seed)
    width = 4 * int(torch.randint(1, 5, ()))
    if kind in ("dense", "maxout"):
        shape: tuple[int, ...] = (int(torch.randint(2, 7, ())),)
        gate = Maxout if kind == "maxout" else [nn.ReLU, nn.LeakyReLU, nn.ReLU6][seed % 3]
        hidden = width // 2 if kind == "maxout" else width
        layers = [nn.Linear(*shape, width), gate(), nn.Linear(hidden, width), gate(), nn.Linear(hidden, 3)]
    else:
        shape = (1, 6, 6)
        between = [nn.ReLU(), nn.MaxPool2d(2)]
        if kind == KINDS[3]:
            between.reverse()
        layers = [nn.Conv2d(1, 3, 3, padding=1), *between, nn.Conv2d(3, 4, 2), *between[:1], nn.ReLU()]
        model = nn.Sequential(*layers, nn.Flatten())
        layers += [nn.Flatten(), nn.Linear(model(torch.zeros(1, *shape)).shape[1], 3)]
    model = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.bias.normal_(0, 0.3)
                degrade(layer.weight, layer.bias, flavour)
    return model, shape


def degrade(weight: Tensor, bias: Tensor, flavour: str) -> None:
    """Make a layer degenerate in one way, in place."""
    half = len(weight) // 2
    if flavour == "no biases":
        bias.zero_()
    elif flavour in ("equal units", "one float apart"):
        weight[half : 2 * half], bias[half : 2 * half] = weight[:half], bias[:half]
        if flavour == "one float apart":
            bias[half:] = torch.nextafter(bias[half:], torch.full_like(bias[half:], math.inf))
    elif flavour == "dead units":
        bias[::3] -= 100
    elif flavour == "whole numbers":
        weight.copy_(torch.randint_like(weight, -2, 3))
        bias.copy_(torch.randint_like(bias, -2, 3))
    elif flavour == "zeros":
        weight[torch.rand_like(weight) < 0.6] = 0
        bias[torch.rand_like(bias) < 0.5] = 0


def random_line(shape: tuple[int, ...], kind: str) -> tuple[Tensor, Tensor]:
    """A point and a direction, ``(1, *shape)`` each."""
    x, d = torch.randn(2, 1, *shape, dtype=torch.float64)
    if kind == "through the origin":
        x = -0.5 * d
    elif kind == "whole numbers":
        x, d = (4 * x).round() / 4, d.round()
        d.view(-1)[0] = 1
    elif kind == "one coordinate":
        x[..., 1:], d = 0, torch.zeros_like(d)
        d.view(-1)[-1] = 1
    return x, d


def differences(seed: int) -> tuple[dict[str, str], list[str], int, bool]:
    """The network of a seed, what differs, the number of breakpoints, and whether rational arithmetic had to settle."""
    kind, flavour = KINDS[seed % 4], FLAVOURS[seed // 4 % 7]
    model, shape = random_model(seed, kind, flavour)
    line, t_range = LINES[seed // 28 % 4], RANGES[seed % 3]
    x, d = random_line(shape, line)
    network = rr.Network.from_module(model, shape)
    exact_network = rational.ExactNetwork(network)
    paths, exact = rr.walk(network, x, d, t_range), rational.walk(exact_network, x, d, t_range)[0]
    interval = rr.exact_interval(network, x, d, t_range)
    truth = rational.exact_interval(exact_network, x, d, t_range)[0]
    wrong = [] if paths.certain.all() and interval.certain.all() else ["not certain"]
    path = paths[0]
    flips = torch.stack([path.flips.gate, path.flips.unit, path.flips.before, path.flips.after], 1)
    found = [flips[path.flips.row == number].tolist() for number in range(1, len(path))]
    if len(found) != len(exact.flips):
        wrong.append(f"{len(found)} breakpoints, not {len(exact.flips)}")
    elif found != [[list(flip) for flip in flips] for flips in exact.flips]:
        wrong.append("flips")
    elif any(
        abs(Fraction(t) - true) > Fraction(error)
        for t, error, true in zip(path.breakpoints.tolist(), paths.t_error[1:-1].tolist(), exact.breakpoints)
        if math.isfinite(error)
    ):
        wrong.append("a t outside of its bound")
    if [pattern[0].tolist() for pattern in paths.first_patterns] != exact.first_patterns:
        wrong.append("first pattern")
    for name in ("label", "label_lo", "label_hi", "tied"):
        if getattr(interval, name)[0] != getattr(truth, name):
            wrong.append(name)
    for name in ("lo", "hi"):
        end, error = (getattr(interval, part)[0].item() for part in (name, f"{name}_error"))
        true = getattr(truth, name)
        if end != true and math.isfinite(error) and (math.isinf(true) or abs(Fraction(end) - true) > Fraction(error)):
            wrong.append(name)
    about = {"kind": kind, "flavour": flavour, "line": line}
    return about, wrong, len(exact.flips), bool(paths.settled.any())


def tallied(
    seeds: range,
    differences: Callable[[int], Any],
    groups: dict[str, Iterable[str]],
    columns: tuple[str, ...],
    verb: str,
) -> tuple[dict[str, Any], dict[int, Any]]:
    """Ask about every seed on one core, and print how many networks of each group there are and what counts on them.

    Args:
        differences: of a seed what it is about, what is wrong, and a number for each column.
        groups: parts of what it is about, each with the names that it can have.
        columns: what is counted.
        verb: what the wrong ones do or are.

    Returns:
        The machine, and for "networks" and each column the counts by group; and what is wrong by seed.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    counts: dict[str, Any] = {name: Counter() for name in ("networks", *columns)}
    failures: dict[int, Any] = {}
    begun = time.perf_counter()
    for seed in seeds:
        about, wrong, *numbers = differences(seed)
        for group in (*(about[name] for name in groups), "all"):
            for name, number in zip(counts, (1, *numbers)):
                counts[name][group] += number
        if wrong:
            failures[seed] = {**about, "wrong": wrong}
            print(f"seed {seed}: {failures[seed]}", flush=True)
    report = {"machine": machine(), **counts}
    torch.set_num_threads(threads)
    print(f"{'':26}" + "".join(f"{name:>{len(name) + 3}}" for name in counts))
    for group in [*(name for names in groups.values() for name in names), "all"]:
        print(f"{group:26}" + "".join(f"{found[group]:>{len(name) + 3}}" for name, found in counts.items()))
    print(f"\n{len(failures)} of {len(seeds)} {verb} ({time.perf_counter() - begun:.0f} s)")
    return report, failures


def main(given: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__, "agreement")
    options.add_argument("--count", type=int, default=1000)
    arguments = options.parse_args(given)
    seeds = range(28 if arguments.quick else arguments.count)
    groups, columns = {"kind": KINDS, "flavour": FLAVOURS}, ("breakpoints", "settled")
    report, failures = tallied(seeds, differences, groups, columns, "differ")
    write_json({**report, "different": failures}, arguments.out)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
