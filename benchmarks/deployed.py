"""How much of an exact interval holds as deployed: for every evaluation in float32, float16 and bfloat16.

    python benchmarks/deployed.py [--quick] [--out FILE.json]

784-128-…-10 of 2 to 6 layers, trained on scikit-learn's digits enlarged to 28 × 28, on lines through two samples of a
class, t in [-10, 10]. For each depth and type: on how many lines the class of x itself is proven, the share of the
exact length that is proven, and processor time by that of `exact_interval` without `deployed`. Needs
`pip install "relu-regions[data]"`. Prints a table and writes it as JSON.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch
from measuring import machine, parser, write_json
from torch import Tensor, nn
from torch.nn import functional

import relu_regions as rr
from relu_regions.apps.reproduction.data import load

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main(given: list[str] | None = None) -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "deployed").parse_args(given)
    depths, lines, epochs = ((2,), 4, 2) if arguments.quick else ((2, 3, 4, 5, 6), 100, 40)
    networks = []
    for depth in depths:
        model, x, d = trained(depth, lines, epochs)
        networks += [{"layers": depth, "type": name, **shares(model, x, d, name)} for name in TYPES]
        for row in networks[-len(TYPES) :]:
            print(", ".join(f"{name} {value:.3g}" if name != "type" else str(value) for name, value in row.items()))
    write_json({"machine": machine(), "lines": lines, "networks": networks}, arguments.out)
    return 0


def trained(depth: int, lines: int, epochs: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network of so many layers, and lines through two samples of a class."""
    torch.manual_seed(0)
    data = load("digits")
    x = functional.interpolate(data.x_train.view(-1, 1, 8, 8).float(), (28, 28), mode="bilinear").flatten(1)
    widths, layers = [784, *[128] * (depth - 1)], list[nn.Module]()
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), data.y_train[rows]).backward()
            optimizer.step()
    first = torch.randperm(len(x))[:lines]
    same = [(data.y_train == data.y_train[row]).nonzero()[:, 0] for row in first.tolist()]
    second = torch.stack([rows[rows != row][0] for rows, row in zip(same, first.tolist())])
    start = x[first].double()
    return model.eval(), start, x[second].double() - start


def shares(model: nn.Module, x: Tensor, d: Tensor, name: str) -> dict[str, Any]:
    """What is proven in one type."""
    begun = time.process_time()
    rr.exact_interval(model, x, d, (-10, 10))
    between = time.process_time()
    found = rr.exact_interval(model, x, d, (-10, 10), deployed=TYPES[name])
    whole = time.process_time() - between
    assert found.deployed_lo is not None and found.deployed_hi is not None and found.deployed_certain is not None
    share = (found.deployed_hi - found.deployed_lo) / found.length
    return {
        "proven at x": int(found.deployed_certain.sum()),
        "mean share": share.mean().item(),
        "median share": share.median().item(),
        "smallest share": share.min().item(),
        "times exact_interval": whole / max(between - begun, 1e-9),
    }


if __name__ == "__main__":
    raise SystemExit(main())
