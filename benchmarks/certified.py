"""What proving costs: intervals without bounds, by default, certified, and in rational arithmetic.

    python benchmarks/certified.py [--quick] [--certificates] [--onnx FOLDER] [--out FILE.json]

784-128-128-128-10, trained to zero training error on scikit-learn's digits enlarged to 28 × 28, on lines through two
samples of a class, without ends; CPU time on one thread, medians over the rounds of quotients within a round. Needs
`pip install "relu-regions[demo]"`. Prints a table and writes it as JSON.

The last part, the only one with `--certificates`, times certificates: the rational interval, `certify` and `check`,
for five lines of a dense network and one of each convolutional one. These are those of proofs.py on digits, the
VGG-like network with 2 and with 4 channels, and with `--onnx` every NAME.onnx of a folder that has NAME_inputs.npz
with `x` beside it and logits for its output.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from architectures import Case
from measuring import machine, parser, write_json
from proofs import Lines, of_case, of_file, pooling
from torch import Tensor, nn
from torch.nn import functional

import relu_regions as rr
from relu_regions import rational
from relu_regions.apps.reproduction.data import load


def main(given: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__, "certified")
    options.add_argument("--certificates", action="store_true", help="only what certificates cost")
    options.add_argument("--onnx", type=Path, help="a folder of ONNX files, each with its inputs")
    arguments = options.parse_args(given)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines, rounds = (20, 1) if arguments.quick else (1000, 5)
    report: dict[str, Any] = {"machine": machine(), "certificates": []}
    model, x, d = trained(lines, 5 if arguments.quick else 400)
    if not arguments.certificates:
        report |= {"lines": lines, **levels(model, x, d, rounds)}
    dense = Lines("784-128-128-128-10", rr.Network.from_module(model, (784,)), x, d, (-1, 1))
    for made, count in ((lambda: dense, 5), *((made, 1) for made in convolutional(arguments.onnx, arguments.quick))):
        report["certificates"] += (found := certificates(made(), count))
        for certificate in found:
            print(", ".join(f"{part} {n if isinstance(n, str) else f'{n:.3g}'}" for part, n in certificate.items()))
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


def convolutional(folder: Path | None, quick: bool) -> Iterator[Callable[[], Lines]]:
    """What makes each convolutional network, with its lines."""
    if quick:
        return
    yield from (lambda side=side: pooling(side, 3) for side in (8, 28))
    cases = [Case(f"VGG-like, width {width}", "vgg", width, 0.04, 0.04, 1 << 28) for width in (2, 4)]
    yield from (lambda case=case: of_case(case) for case in cases)
    paths = sorted(folder.glob("*.onnx")) if folder is not None else []
    yield from (lambda path=path: of_file(path) for path in paths)


def certificates(lines: Lines, count: int) -> list[dict[str, Any]]:
    """Mean seconds for each of so many lines of the rational interval, of certify and of check."""
    name, read, x, d, t_range = lines
    if len(read.output_shape) != 1:
        return []
    network = rational.ExactNetwork(read)
    network.steps, network.digest  # noqa: B018 (taken once, not timed)
    found = rr.exact_interval(read, x[:count], d[:count], t_range, resolve="never")
    times = {"rational interval": 0.0, "certify": 0.0, "check": 0.0}
    regions = 0
    for n in range(count):
        line = (x[n : n + 1], d[n : n + 1])
        times["rational interval"] += cpu(lambda line=line: rational.exact_interval(network, *line, t_range))[0]
        spent, certificate = cpu(lambda line=line, n=n: rational.certify(network, *line, found[n]))
        times["certify"] += spent
        times["check"] += cpu(lambda certificate=certificate: rational.check(certificate, network))[0]
        regions += certificate.region_count
    parts = {part: value / count for part, value in times.items()}
    return [{"network": name, "lines": count, "regions": regions / count, **parts}]


if __name__ == "__main__":
    raise SystemExit(main())
