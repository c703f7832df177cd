"""Models that change between calls: is an answer ever about the model as it was before?

    python benchmarks/changed_models.py [--quick] [--out FILE.json]

A model (changes.py) is walked, changed in one of the ways that its printed form does not show, and walked again;
outputs of size 1e-6, 1 and 1e6, in float16, bfloat16, float32 and float64. Right is an answer whose logits at every
breakpoint are those of the model's own forward pass in float64, to 1e-9 of the largest. Then twenty rounds of training
with a change of every kind between calls. Last, what reading costs: a call with a model beside a call with its Network.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence

import torch
from changes import CHANGES, SETTINGS, Changing, in_float64
from measuring import machine, parser, write_json
from torch import Tensor, nn

import relu_regions as rr

SIZES = (1e-6, 1.0, 1e6)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def points(seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Three lines."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, generator=generator).to(dtype), 3 * torch.randn(3, 4, generator=generator).to(dtype)


def verdict(model: Changing, x: Tensor, d: Tensor) -> str:
    """Whether the walk of a model is about the model as it is."""
    try:
        paths = rr.walk(model, x, d)
    except rr.UnsupportedOperation as error:
        return f"refused: {error}"
    segments = torch.bucketize(torch.arange(len(paths.t)), paths.offsets[1:], right=True)
    true = in_float64(model, x.double()[segments] + paths.t[:, None] * d.double()[segments], x.dtype)
    return "right" if (paths.outputs - true).abs().max() <= 1e-9 * true.abs().max() else "stale"


def changed(change: str, size: float, dtype: torch.dtype) -> str:
    """The verdict on a model that is walked, changed, and walked again."""
    SETTINGS["factor"] = 1.0
    torch.manual_seed(1)
    model = Changing(size).to(dtype).eval()
    x, d = points(0, dtype)
    rr.walk(model, x, d)
    CHANGES[change](model)
    return verdict(model, x, d)


def trained(change: str, rounds: int) -> Counter[str]:
    """The verdicts of rounds of training with a change of one kind before each call."""
    SETTINGS["factor"] = 1.0
    torch.manual_seed(2)
    model = Changing().eval()
    inputs, labels = torch.randn(32, 4), torch.randint(3, (32,))
    found: Counter[str] = Counter()
    for index in range(rounds):
        parameters = list(model.parameters())
        loss = nn.functional.cross_entropy(model(inputs), labels)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                parameter -= 0.05 * gradient if gradient is not None else 0.0
        rr.exact_interval(model, *points(index, torch.float32))
        CHANGES[change](model)
        found[verdict(model, *points(index, torch.float32))] += 1
    return found


def costs(rounds: int) -> dict[str, float]:
    """Milliseconds of an interval of 200 lines by model and by Network, after a change of weights; their quotient."""
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    x, d = torch.rand(200, 784), torch.randn(200, 784)
    network = rr.Network.from_module(model, (784,))
    rows: dict[str, list[float]] = {"model": [], "network": []}
    for _ in range(rounds):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1e-4 * torch.randn_like(parameter)
        for name, given in (("model", model), ("network", network)):
            start = time.process_time()
            rr.exact_interval(given, x, d, (-1, 2))
            rows[name].append(1e3 * (time.process_time() - start))
    quotients = [one / other for one, other in zip(rows["model"], rows["network"])]
    return {
        **{name: statistics.median(times) for name, times in rows.items()},
        "quotient": statistics.median(quotients),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the verdicts and write them."""
    options = parser(__doc__, "changed_models").parse_args(arguments)
    cases = [(c, size, dtype) for c in CHANGES for size in SIZES for dtype in DTYPES][:: 12 if options.quick else 1]
    verdicts = Counter(changed(*case) for case in cases)
    rounds = Counter[str]()
    for change in list(CHANGES)[:: 8 if options.quick else 1]:
        rounds += trained(change, 2 if options.quick else 20)
    cost = costs(3 if options.quick else 15)
    print(f"{len(cases)} models changed once: {dict(verdicts)}")
    print(f"rounds of training with changes: {dict(rounds)}")
    print(
        f"interval of 200 lines: {cost['model']:.1f} ms by model, {cost['network']:.1f} ms by Network, "
        f"×{cost['quotient']:.2f}"
    )
    figures = {"machine": machine(), "changed": dict(verdicts), "rounds": dict(rounds), "cost": cost}
    write_json(figures, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
