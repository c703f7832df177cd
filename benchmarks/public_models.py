"""Networks of torchvision and timm: is each read as it answers itself, or refused by name?

    python benchmarks/public_models.py [--quick] [--out FILE.json]

Needs torchvision and timm, which are no dependencies of the project; nothing is downloaded. Each network has random
weights, running statistics from one batch of noise, inputs of 3 × 64 × 64, and is in float64. Read is a network whose
answers at 50 points of a segment are those of the model's own forward pass to 1e-9 of the largest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from measuring import machine, parser, write_json
from torch import Tensor, nn

import relu_regions as rr

SHAPE = (3, 64, 64)
POINTS = 50
TORCHVISION = (
    "resnet18", "vgg11", "mobilenet_v2", "densenet121", "squeezenet1_1", "googlenet", "shufflenet_v2_x1_0",
    "regnet_y_400mf", "mnasnet1_0", "resnext50_32x4d", "alexnet", "regnet_x_400mf", "wide_resnet50_2",
    "mobilenet_v3_small", "efficientnet_b0", "vit_b_16",
)  # fmt: skip
TIMM = (
    "resnet10t", "seresnet18", "mobilenetv1_100", "regnetx_002", "repvgg_a0", "mnasnet_small", "efficientnet_lite0",
    "convnext_atto", "ghostnet_100", "skresnet18", "selecsls42", "vovnet39a", "dla34", "resnet26d", "mobilenetv2_050",
    "spnasnet_100", "resmlp_12_224", "darknet17", "gernet_s", "res2net50_14w_8s", "dpn48b", "densenetblur121d",
    "hrnet_w18_small",
)  # fmt: skip


def models() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Names, and what makes each network."""
    import timm
    import torchvision

    more: dict[str, dict[str, Any]] = {
        "googlenet": {"init_weights": False, "aux_logits": False},
        "vit_b_16": {"image_size": 64},
        "resmlp_12_224": {"img_size": 64},
    }
    for name in TORCHVISION:
        yield f"torchvision {name}", lambda n=name: getattr(torchvision.models, n)(**more.get(n, {}))  # type: ignore[misc]
    for name in TIMM:
        yield f"timm {name}", lambda n=name: timm.create_model(n, **more.get(n, {}))  # type: ignore[misc]


def prepared(make: Callable[[], nn.Module]) -> nn.Module:
    """The network with running statistics, in eval mode and float64."""
    torch.manual_seed(0)
    model = make().double().train()
    with torch.no_grad():
        model(torch.randn(8, *SHAPE, dtype=torch.float64))
    return model.eval()


def verdict(make: Callable[[], nn.Module]) -> dict[str, Any]:
    """Whether the network is read, how far its answers are off, how many gates it has, and seconds to read it."""
    model = prepared(make)
    started = time.perf_counter()
    try:
        network = rr.Network.from_module(model, SHAPE)
    except rr.UnsupportedOperation as error:
        return {"verdict": "refused", "why": str(error).partition(". ")[0]}
    seconds = time.perf_counter() - started
    ends = torch.randn(2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64).view(-1, 1, 1, 1)
    off = largest = 0.0
    for points in (ends[0] + t * (ends[1] - ends[0])).split(10):
        found, true = network(points), own_answer(model, points)
        off, largest = max(off, float((found - true).abs().max())), max(largest, float(true.abs().max()))
    kind = "read" if off <= 1e-9 * largest else "wrong"
    units = sum(gate.units for gate in network.gates)
    return {"verdict": kind, "off": off / largest, "units": units, "seconds": round(seconds, 1)}


def own_answer(model: nn.Module, points: Tensor) -> Tensor:
    """The model's own forward pass."""
    with torch.no_grad():
        answer: Tensor = model(points)
    return answer


def main(argv: Sequence[str] | None = None) -> int:
    """Read all networks, print and write the verdicts; 1 if one is read wrongly."""
    arguments = parser(__doc__, "public_models").parse_args(argv)
    found: dict[str, dict[str, Any]] = {}
    for name, make in models():
        if arguments.quick and name not in ("torchvision resnet18", "timm resnet10t"):
            continue
        found[name] = verdict(make)
        print(f"{name:32} {found[name]}", flush=True)
    write_json({"machine": machine(), "models": found}, arguments.out)
    return 1 if any(one["verdict"] == "wrong" for one in found.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
