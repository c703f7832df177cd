"""What walks, intervals, maps, norms and certificates are, bit for bit, to compare two states of the library.

    python benchmarks/same_results.py [--quick] [--count 200] [--against BEFORE.json] [--out FILE.json]

Small seeded networks of ten kinds are asked all that a person asks, and each answer is kept as a digest of its bytes.
Run it in one state of the library (PYTHONPATH says which), then in the other with ``--against`` the first one's file:
it prints which answers differ, and exits with 1 if any does. It uses the public names alone, so that any commit can be
asked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational

RANGE = (-1.0, 2.0)
LINES = 4
SHAPE = (1, 6, 6)


class Residual(nn.Module):
    """Two branches that meet again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(36, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        hidden = self.first(x.flatten(1)).relu()
        logits: Tensor = self.last((self.inner(hidden) + hidden).relu())
        return logits


def _dense(*between: nn.Module) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for width, (gate, size) in enumerate(zip(between, [36, *[8] * len(between)])):
        layers += [nn.Linear(size, 8, bias=width != 1), gate]
    return nn.Sequential(*layers, nn.Linear(8, 3))


def _pooled(gate: nn.Module, pool: nn.Module) -> nn.Module:
    head = nn.Linear(4 * 9, 3)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), gate, pool, nn.Flatten(), head)


KINDS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: _dense(nn.ReLU(), nn.ReLU()),
    "deep": lambda: _dense(*[nn.ReLU()] * 6),
    "one layer": lambda: _dense(nn.ReLU()),
    "leaky": lambda: _dense(nn.LeakyReLU(0.1), nn.PReLU()),
    "clamped": lambda: _dense(nn.ReLU6(), nn.Hardtanh(-0.5, 0.5)),
    "absolute": lambda: _dense(nn.Softshrink(0.1), nn.Hardsigmoid()),
    "residual": Residual,
    "max pooling": lambda: _pooled(nn.ReLU(), nn.MaxPool2d(2)),
    "average pooling": lambda: _pooled(nn.LeakyReLU(), nn.AvgPool2d(2)),
    "without biases": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8, bias=False), nn.ReLU(), nn.Linear(8, 2)),
}


def questions(count: int) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
    """Names, models in eval mode, points and directions; equal from run to run."""
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        torch.manual_seed(number)
        model = KINDS[kind]().double().eval()
        x, d = torch.rand(2, LINES, *SHAPE, dtype=torch.float64)
        yield f"{kind} {number}", model, x, d


def digest(*parts: Any) -> str:
    """Of the bytes of tensors, and of the text of what else there is."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part.contiguous().numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode())
    return found.hexdigest()


def answers(model: nn.Module, x: Tensor, d: Tensor) -> dict[str, str]:
    """A digest for each thing that is asked."""
    paths, plain = rr.walk(model, x, d, RANGE), rr.walk(model, x, d, RANGE, resolve="never")
    interval = rr.exact_interval(model, x, d, RANGE)
    found = {}
    for name, walk in (("walk", paths), ("walk without bounds", plain)):
        flips = walk.flips
        found[name] = digest(walk.offsets, walk.t, walk.outputs, flips.row, flips.gate, flips.unit, flips.after)
        found[f"{name}: patterns"] = digest(*walk.first_patterns)
    found["certain"] = digest(paths.certain, interval.certain)
    found["interval"] = digest(interval.lo, interval.hi, interval.label, interval.label_lo, interval.label_hi)
    found["maps"] = digest(*paths.affine_maps())
    for p in (1, 2, float("inf")):
        found[f"norms {p}"] = digest(paths.norms(p))
    found["integrated gradients"] = digest(rr.integrated_gradients(model, x + d, x, 0))
    network = rational.ExactNetwork(rr.Network.from_module(model, x.shape[1:]))
    (exact,) = rational.exact_interval(network, x[:1], d[:1], RANGE)
    found["certificate"] = digest(rational.certify(network, x[:1], d[:1], exact).to_json())
    return found


def main(arguments: list[str] | None = None) -> int:
    """Ask, write the digests, and compare them with those of another state."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="one network of each kind")
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--against", type=Path, help="the file of another state of the library")
    options.add_argument("--out", type=Path, default=Path("results") / "same_results.json")
    given, threads = options.parse_args(arguments), torch.get_num_threads()
    torch.set_num_threads(1)
    count = len(KINDS) if given.quick else given.count
    found = {name: answers(*question) for name, *question in questions(count)}
    torch.set_num_threads(threads)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"machine": platform.platform(), "networks": found}, indent=1))
    print(f"{sum(map(len, found.values()))} answers of {count} networks: {given.out}")
    if given.against is None:
        return 0
    return _compared(json.loads(given.against.read_text())["networks"], found)


def _compared(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> int:
    pairs = [(name, asked) for name, asks in after.items() if name in before for asked in asks if asked in before[name]]
    differing = [(name, asked) for name, asked in pairs if before[name][asked] != after[name][asked]]
    print(f"{len(differing)} of {len(pairs)} answers differ")
    for asked, number in Counter(asked for _, asked in differing).most_common():
        print(f"{number:6d}  {asked}, first {next(name for name, one in differing if one == asked)}")
    return 1 if differing or not pairs else 0


if __name__ == "__main__":
    sys.exit(main())
