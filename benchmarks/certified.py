"""What proving costs: intervals without bounds, by default, certified, and in rational arithmetic.

    python benchmarks/certified.py [--quick] [--out FILE.json]

784-128-128-128-10, trained to zero training error on scikit-learn's digits enlarged to 28 × 28, on lines through two
samples of a class, without ends; CPU time on one thread, medians over the rounds of quotients within a round. Needs
`pip install "relu-regions[demo]"`. Prints a table and writes it as JSON.

The last part times certificates: the rational interval, `certify` and `check`, also for a convolutional network with
max pooling on 3 × 32 × 32 inputs with its first weights.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from measuring import machine, parser, write_json
from torch import Tensor, nn
from torch.nn import functional

import relu_regions as rr
from relu_regions import rational
from relu_regions.apps.reproduction.data import load


def main(given: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__, "certified")
    arguments = options.parse_args(given)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines, rounds = (20, 1) if arguments.quick else (1000, 5)
    model, x, d = trained(lines, 5 if arguments.quick else 400)
    report: dict[str, Any] = {"machine": machine(), "lines": lines, **levels(model, x, d, rounds)}
    report["certificates"] = [certificates("784-128-128-128-10", model, x[:5], d[:5])]
    if not arguments.quick:
        report["certificates"].append(certificates("convolutional, 3 × 32 × 32", *convolutional()))
    for certificate in report["certificates"]:
        print(
            ", ".join(
                f"{name} {value if isinstance(value, str) else f'{value:.3g}'}" for name, value in certificate.items()
            )
        )
    torch.set_num_threads(threads)
    write_json(report, arguments.out)
    return 0


def trained(lines: int, epochs: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The network, and lines through two samples of a class."""
    data = load("digits")
    small = data.x_train.view(-1, 1, 8, 8).float()
    x = functional.interpolate(small, (28, 28), mode="bilinear").flatten(1)
    model = nn.Sequential(
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = functional.cross_entropy(model(x[rows]), data.y_train[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (model(x).argmax(1) == data.y_train).all() and loss < 1e-2:
            break
    first = torch.randint(len(x), (lines,))
    others = ((data.y_train == data.y_train[i]) & (torch.arange(len(x)) != i) for i in first.tolist())
    second = torch.tensor([int(other.nonzero()[:, 0][torch.randint(100, ()) % 100]) for other in others])
    return model.eval(), x[first].double(), (x[second] - x[first]).double()


def cpu(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU time, and what the call gave."""
    begun = time.process_time()
    result = call()
    return time.process_time() - begun, result


def levels(model: nn.Module, x: Tensor, d: Tensor, rounds: int) -> dict[str, Any]:
    """Time of each level of proof for each line, and what certifying says of itself."""
    calls = {
        "without bounds": lambda: rr.exact_interval(model, x, d, resolve="never"),
        "default": lambda: rr.exact_interval(model, x, d),
        "certified": lambda: rr.exact_interval(model, x, d, certify=True),
    }
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(cpu(call)[0] / len(x))
    slow, exact = cpu(lambda: rational.exact_interval(model, x[:10], d[:10]))
    found = rr.exact_interval(model, x, d, certify=True)
    assert all(found.hi_below[n].item() <= true.hi <= found.hi_above[n].item() for n, true in enumerate(exact))
    finite = torch.isfinite(found.hi) & (found.hi != 0)
    widths = (found.hi_above - found.hi_below)[finite] / (torch.finfo(torch.float64).eps * found.hi[finite].abs())
    result: dict[str, Any] = {
        name: {
            "ms per line": 1e3 * statistics.median(times),
            "by default": statistics.median(a / b for a, b in zip(times, seconds["default"])),
            "by without bounds": statistics.median(a / b for a, b in zip(times, seconds["without bounds"])),
        }
        for name, times in seconds.items()
    }
    result["rational"] = {"ms per line": 1e3 * slow / len(exact)}
    signs, undecided = int(found.float_signs.sum()), int(found.rational_signs.sum())
    result |= {"signs in float": signs, "signs in rational arithmetic": undecided, "settled": int(found.settled.sum())}
    result["share in float"] = signs / (signs + undecided)
    result |= {"widest enclosure, eps of t": float(widths.max()), "median": float(widths.median())}
    for name, value in result.items():
        print(f"{name:32}", value if not isinstance(value, dict) else {k: round(v, 3) for k, v in value.items()})
    return result


def convolutional() -> tuple[nn.Module, Tensor, Tensor]:
    """Six layers with max pooling, of the size that CIFAR-10 takes."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 32), nn.ReLU(), nn.Linear(32, 10),
    ).eval()  # fmt: skip
    x, d = torch.randn(2, 1, 3, 32, 32, dtype=torch.float64)
    return model, x, 0.02 * d


def certificates(name: str, model: nn.Module, x: Tensor, d: Tensor) -> dict[str, Any]:
    """Seconds for each line of the rational interval, of certify and of check; t in [-1, 1]."""
    network = rational.ExactNetwork(rr.Network.from_module(model, x.shape[1:]))
    network.steps, network.digest  # noqa: B018 (taken once, not timed)
    found = rr.exact_interval(network.network, x, d, (-1, 1))
    times = {"rational interval": 0.0, "certify": 0.0, "check": 0.0}
    regions = 0
    for n in range(len(x)):
        line = (x[n : n + 1], d[n : n + 1])
        times["rational interval"] += cpu(lambda line=line: rational.exact_interval(network, *line, (-1, 1)))[0]
        spent, certificate = cpu(lambda line=line, n=n: rational.certify(network, *line, found[n]))
        times["certify"] += spent
        times["check"] += cpu(lambda certificate=certificate: rational.check(certificate, network))[0]
        regions += certificate.region_count
    return {"network": name, "regions": regions / len(x), **{part: value / len(x) for part, value in times.items()}}


if __name__ == "__main__":
    raise SystemExit(main())
