"""Which stage proves the lines of networks of many kinds, and what that costs: default against no bounds.

    python benchmarks/proofs.py [--quick] [--wide] [--only NAME] [--onnx FOLDER] [--rounds 3] [--out FILE.json]

- Dense networks, deep ones too, trained to zero training error on scikit-learn's digits (enlarged to 28 × 28 for 784
  inputs), on lines through two samples of a class, and with He's weights on random lines; t in [−1, 2].
- Convolution, batch norm, ReLU and max pooling, trained on digits, on lines between two samples of a class.
- The VGG-like network and the ResNet-18-like one of architectures.py, on a segment of some hundred breakpoints;
  with `--wide` those of 16 and 64 channels too.
- With `--onnx`, every NAME.onnx of a folder that has NAME_inputs.npz with `x` beside it, on lines from each input to
  the next.

For each it prints how many lines each stage has proven, of walks and of intervals, and the quotients of processor time,
default to `resolve="never"`, medians over the rounds. Needs `pip install "relu-regions[demo]"`.
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from architectures import Case, images
from measuring import in_rounds, machine, parser, quotient, write_json
from torch import Tensor, nn
from torch.nn import functional

import relu_regions as rr
from relu_regions.apps.reproduction.data import load
from relu_regions.lines.line_batch import Range


class Lines(NamedTuple):
    """A network and lines to walk along."""

    name: str
    network: rr.Network
    x: Tensor
    d: Tensor
    t_range: Range


def main(given: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__, "proofs")
    options.add_argument("--wide", action="store_true", help="networks of 16 and 64 channels too: minutes each")
    options.add_argument("--only", help="networks with this in their name")
    options.add_argument("--onnx", type=Path, help="a folder of ONNX files, each with its inputs")
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args(given)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rounds = 1 if arguments.quick else arguments.rounds
    results = []
    for name, made in cases(arguments.quick, arguments.wide, arguments.onnx):
        if arguments.only is None or arguments.only.lower() in name.lower():
            results.append(measured(made(), rounds))
            print(line_of(results[-1]), flush=True)
    torch.set_num_threads(threads)
    write_json({"machine": machine(), "rounds": rounds, "networks": results}, arguments.out)
    return 0


# ---------------------------------------------------------------- networks


def cases(quick: bool, wide: bool, folder: Path | None) -> Iterator[tuple[str, Callable[[], Lines]]]:
    """Names of networks, and what makes each."""
    count = 2 if quick else 20
    trained = [(64, 64, 3)] if quick else [(64, 128, 8), (64, 128, 10), (784, 256, 4), (784, 256, 6)]
    he = [(64, 32, 8)] if quick else [(784, 128, 8), (784, 128, 10), (784, 128, 12), (64, 128, 8), (64, 128, 12)]
    for sizes in trained:
        yield "trained {}-{}×{}".format(*sizes), lambda sizes=sizes: on_digits(*sizes, count)
    for sizes in he:
        yield "He {}-{}×{}".format(*sizes), lambda sizes=sizes: at_random(*sizes, count // 2)
    for side in (8,) if quick else (8, 28):
        yield f"CNN, {side} × {side} digits", lambda side=side: pooling(side, count)
    reach = {"vgg": 0.001, "resnet18": 0.001} if quick else {"vgg": 0.04, "resnet18": 0.02}
    for kind, title in (("vgg", "VGG-like"), ("resnet18", "ResNet-18-like")):
        narrow = 16 if kind == "vgg" else 8
        for width in (2,) if quick else sorted({narrow, 16, 64}) if wide else (narrow,):
            far = reach[kind] * (1 if width < 64 else 0.025)
            case = Case(f"{title}, width {width}", kind, width, far, far, 1 << 28)
            yield case.name, lambda case=case: of_case(case)
    for path in sorted(folder.glob("*.onnx")) if folder is not None else []:
        yield path.stem, lambda path=path: of_file(path)


def dense(inputs: int, width: int, depth: int) -> nn.Sequential:
    """That many hidden layers of a width, and ten logits."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else inputs, width), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
    return nn.Sequential(*layers, nn.Linear(width, 10))


def digits(side: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's digits as images of a size, ``(N, 1, side, side)`` float32, and their labels."""
    data = load("digits")
    small = data.x_train.view(-1, 1, 8, 8).float()
    x = small if side == 8 else functional.interpolate(small, (side, side), mode="bilinear")
    return x, data.y_train


def fitted(model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    """Trained until every sample has its label, or for 60 epochs."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(60):
        model.train()
        for rows in torch.randperm(len(x)).split(64):
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            if bool((model.eval()(x).argmax(1) == y).all()):
                break
    return model.eval()


def between(x: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Lines from a sample to another one of its class."""
    torch.manual_seed(1)
    first = torch.randint(len(x), (count,)).tolist()
    second = []
    for one in first:
        others = ((y == y[one]) & (torch.arange(len(x)) != one)).nonzero()[:, 0]
        second.append(int(others[torch.randint(len(others), ())]))
    return x[first].double(), (x[second].double() - x[first].double())


def on_digits(inputs: int, width: int, depth: int, count: int) -> Lines:
    x, y = digits(8 if inputs == 64 else 28)
    torch.manual_seed(0)
    model = fitted(dense(inputs, width, depth), x.flatten(1), y)
    network = rr.Network.from_module(model, (inputs,))
    return Lines(f"trained {inputs}-{width}×{depth}", network, *between(x.flatten(1), y, count), (-1, 2))


def at_random(inputs: int, width: int, depth: int, count: int) -> Lines:
    torch.manual_seed(0)
    network = rr.Network.from_module(dense(inputs, width, depth).eval(), (inputs,))
    x, d = torch.randn(2, count, inputs, dtype=torch.float64)
    return Lines(f"He {inputs}-{width}×{depth}", network, x, d, (-1, 2))


def pooling(side: int, count: int) -> Lines:
    """Convolution, batch norm, ReLU and max pooling twice, and a matrix."""
    x, y = digits(side)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, behind in ((1, 8), (8, 16)):
        layers += [nn.Conv2d(before, behind, 3, padding=1), nn.BatchNorm2d(behind), nn.ReLU(), nn.MaxPool2d(2)]
    model = fitted(nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * (side // 4) ** 2, 10)), x, y)
    network = rr.Network.from_module(model, (1, side, side))
    return Lines(f"CNN, {side} × {side} digits", network, *between(x, y, count), (0, 1))


def of_case(case: Case) -> Lines:
    model = case.model()
    x, d = case.line(model)
    return Lines(case.name, rr.Network.from_module(model, tuple(images(1, 0).shape[1:])), x, d, (0, case.reach))


def of_file(path: Path) -> Lines:
    """Lines from each of up to twenty inputs to the next."""
    network = rr.Network.from_onnx(path)
    with np.load(path.with_name(f"{path.stem}_inputs.npz"), allow_pickle=False) as file:
        x = torch.as_tensor(file["x"]).double().view(-1, *network.input_shape)[:21]
    d = x[1:] - x[:-1]
    kept = d.flatten(1).any(1)
    return Lines(path.stem, network, x[:-1][kept], d[kept], (0, 1))


# ---------------------------------------------------------------- measuring


def measured(lines: Lines, rounds: int) -> dict[str, Any]:
    """What proves the walks and intervals of some lines, and at which quotient of time."""
    name, network, x, d, t_range = lines

    def call(question: Callable[..., Any], resolve: str) -> Callable[[], Any]:
        return lambda: question(network, x, d, t_range, resolve=resolve)

    result: dict[str, Any] = {"name": name, "units": network.units, "lines": len(x)}
    questions: dict[str, Callable[..., Any]] = {"walk": rr.walk}
    if len(network.output_shape) == 1:
        questions["interval"] = rr.exact_interval
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rr.UnprovenWarning)
        for title, question in questions.items():
            found = call(question, "auto")()
            if title == "walk":
                result["breakpoints of a line"] = statistics.median(found.breakpoint_counts.tolist())
            calls = {resolve: call(question, resolve) for resolve in ("never", "auto")}
            times = in_rounds(calls, rounds)
            cpu = {resolve: [seconds.cpu for seconds in of] for resolve, of in times.items()}
            result[title] = {
                "decided by": dict(Counter(found.decided_by)),
                "ms a line without bounds": 1e3 * statistics.median(cpu["never"]) / len(x),
                "quotient": quotient(cpu["auto"], cpu["never"]),
            }
    return result


def line_of(result: dict[str, Any]) -> str:
    """One line of the table."""
    parts = [f"{result['name']:24} {result['lines']:3} lines {result['breakpoints of a line']:7.0f} breakpoints"]
    for title in ("walk", "interval"):
        if title in result:
            stages = ", ".join(f"{count} {name}" for name, count in sorted(result[title]["decided by"].items()))
            parts.append(f"{title} {result[title]['quotient']:6.2f} ({stages})")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
