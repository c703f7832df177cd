"""Exact integrated gradients against captum's sampled ones: error and time of both.

    python benchmarks/integrated_gradients.py [--quick] [--out FILE.json]

Needs captum. Networks with their first weights, from the origin to uniform points of [0, 1]^n. For each method: time
for a point and its quotient by the exact method's in the same round (medians over the rounds); how far the
attributions of a point are from adding up to the logit's change; and the largest error of one, relative to the
largest attribution of its point. Prints a table for each network and writes all figures as JSON.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
from measuring import in_rounds, machine, mlp, parser, quotient, write_json
from torch import Tensor

from relu_regions.walking.attribution import integrated_gradients

STEPS = (50, 300, 1000)
NETWORKS = [(64, 128, 128, 10), (784, 128, 128, 128, 10), (784, 512, 512, 10)]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__, "integrated_gradients").parse_args(arguments)
    try:
        import captum
    except ImportError:
        print("captum is not installed: pip install captum")
        return 1
    points, rounds = (2, 1) if options.quick else (64, 7)
    networks = []
    for sizes in NETWORKS[:1] if options.quick else NETWORKS:
        networks.append(measure(sizes, points, rounds))
        print_table(networks[-1])
    report = {"machine": machine(), "captum": captum.__version__, "quick": options.quick, "networks": networks}
    write_json(report, options.out)
    return 0


def measure(sizes: tuple[int, ...], points: int, rounds: int) -> dict:
    """Both methods on one network with its first weights, from the origin to uniform points of [0, 1]^n."""
    from captum.attr import IntegratedGradients

    torch.manual_seed(0)
    model = mlp(*sizes).double()
    x, baseline = torch.rand(points, sizes[0], dtype=torch.float64), torch.zeros(1, sizes[0], dtype=torch.float64)
    with torch.no_grad():
        classes = model(x).argmax(1)
        change = (model(x) - model(baseline)).gather(1, classes[:, None])[:, 0]

    def sampled(steps: int) -> Tensor:
        # The size of parts that was fastest on one core, by a fifth.
        size = 1024
        return (
            IntegratedGradients(model).attribute(x, baseline, classes, n_steps=steps, internal_batch_size=size).detach()
        )

    methods: dict[str, Callable[[], Tensor]] = {
        "exact": lambda: integrated_gradients(model, x, baseline, classes, progress=False)
    }
    methods |= {f"captum, {steps} steps": lambda steps=steps: sampled(steps) for steps in STEPS}  # type: ignore[misc]
    answers = {name: method() for name, method in methods.items()}
    times = {name: [each.wall for each in own] for name, own in in_rounds(methods, rounds).items()}
    exact = answers["exact"]
    rows = [
        {
            "method": name,
            "seconds": statistics.median(times[name]),
            "by_exact": quotient(times[name], times["exact"]),
            "completeness": (answer.sum(1) - change).abs().max().item(),
            "error": ((answer - exact).abs().amax(1) / exact.abs().amax(1)).max().item(),
        }
        for name, answer in answers.items()
    ]
    return {"network": "-".join(map(str, sizes)), "points": points, "methods": rows}


def print_table(figures: dict) -> None:
    """One network's figures."""
    print(f"\n{figures['network']}, {figures['points']} points, float64")
    print(f"{'':20}  ms/point  / exact  sum - change of logit  relative error")
    for row in figures["methods"]:
        cells = f"{1000 * row['seconds'] / figures['points']:8.3f}  {row['by_exact']:7.2f}"
        print(f"{row['method']:20}  {cells}  {row['completeness']:21.1e}  {row['error']:14.1e}")


if __name__ == "__main__":
    sys.exit(main())
