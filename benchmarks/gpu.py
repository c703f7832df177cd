"""Segments per second on a CUDA device and on the processor, by size of the batch.

    python benchmarks/gpu.py [--quick] [--rounds N] [--out FILE.json]

784-128-128-128-10 with its first weights, t in [-1, 2], float64 and float32, without bounds (resolve="never") and, in
float64, with them: in float32 they leave most of these lines in doubt. Beside each rate: how many lines were settled in
rational arithmetic, on the processor, and the rate without the time for that; the rate of the bare products at the
walk's points as a share of the rate at which the device multiplies large square matrices; and, as a share of the
bandwidth at which it copies memory, a lower bound of what the walk moves: every value before and after each gate,
written and read once. Without a CUDA device it says so, and ends.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

import torch
from measuring import (
    RANGE,
    between_uniform_points,
    gemm_rate,
    machine,
    mlp,
    operations,
    parser,
    points_of_products,
    timed,
    write_json,
)

import relu_regions as rr
from relu_regions.network.steps import AffineStep
from relu_regions.walking import walker
from relu_regions.walking.settle import Settled

BATCHES = (10, 100, 1000, 10_000, 100_000)
# What the processor is asked for; it would take minutes for the largest batch.
LARGEST_ON_CPU = 1000


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "gpu")
    command.add_argument("--rounds", type=int, default=3, help="times that everything is measured (default 3)")
    options = command.parse_args(arguments)
    if not torch.cuda.is_available():
        print("No CUDA device here: nothing was measured, and no file was written.")
        return 0
    report: dict[str, Any] = {"cuda": machine("cuda"), "cpu": machine(), "rows": []}
    for dtype in (torch.float64, torch.float32):
        for device in ("cuda", "cpu"):
            limits = {
                "flops": gemm_rate(dtype, device, 8192 if device == "cuda" else 1024),
                "copied": copy_rate(device),
            }
            print(
                f"\n{report[device]}, {dtype}: {limits['flops'] / 1e9:,.0f} GFLOP/s, copies "
                f"{limits['copied'] / 1e9:,.0f} GB/s"
            )
            print("segments  bounds  segments/s  settled  without it  of product rate  of copying rate  GiB at peak")
            for batch in BATCHES[: 2 if options.quick else None]:
                if device == "cuda" or batch <= LARGEST_ON_CPU:
                    for resolve in ("never", "auto") if dtype == torch.float64 else ("never",):
                        row = measured(device, dtype, batch, resolve, options.rounds, limits)
                        report["rows"].append(row)
                        print_row(row)
    write_json(report, options.out)
    return 0


def measured(
    device: str, dtype: torch.dtype, batch: int, resolve: str, rounds: int, limits: dict[str, float]
) -> dict[str, Any]:
    """One row."""
    torch.manual_seed(0)
    widths = (784, 128, 128, 128, 10)
    model = mlp(*widths).double().to(device)
    x, d = (part.to(device) for part in between_uniform_points(batch, widths[0]))
    network = rr.Network.from_module(model, widths[:1])

    settling, settle = [0.0], walker.settle

    def apart(*given: Any) -> list[Settled]:
        found: list[Settled] = []
        settling[0] = timed(lambda: found.extend(settle(*given)), device).wall
        return found

    def walk() -> rr.Paths:
        with patch.object(walker, "settle", apart):
            return rr.walk(network, x, d, RANGE, dtype=dtype, resolve=resolve, progress=False)

    def times() -> tuple[float, float]:
        settling[0] = 0.0
        return timed(walk, device).wall, settling[0]

    paths = walk()
    products = points_of_products(paths)
    settled, moved = int(paths.settled.sum()), bytes_moved(products, dtype)
    breakpoints = int(paths.breakpoint_counts.sum())
    del paths
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, seconds_settling = min(times() for _ in range(rounds))
    without = seconds - seconds_settling
    return {
        "device": device,
        "dtype": str(dtype),
        "segments": batch,
        "resolve": resolve,
        "breakpoints": breakpoints,
        "settled": settled,
        "seconds": seconds,
        "seconds_settling": seconds_settling,
        "segments_per_second": batch / seconds,
        "segments_per_second_without_settling": batch / without,
        "share_of_products": operations(products) / without / limits["flops"],
        "share_of_copying": moved / without / limits["copied"],
        "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }


def bytes_moved(products: list[tuple[AffineStep, int]], dtype: torch.dtype) -> int:
    """At least what goes through memory: inputs and outputs of each product, once."""
    numbers = sum(points * (step.constants[0].shape[1] + step.shape[0]) for step, points in products)
    return numbers * dtype.itemsize


def copy_rate(device: str) -> float:
    """Bytes a second that are read and written in a copy of a large tensor, the best of some."""
    source = torch.ones(1 << (27 if device == "cuda" else 24), dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    seconds = min(timed(lambda: target.copy_(source), device).wall for _ in range(10))
    return 2 * source.numel() * source.element_size() / seconds


def print_row(row: dict[str, Any]) -> None:
    """One batch."""
    shares = f"{row['share_of_products']:15.1%}  {row['share_of_copying']:15.1%}"
    settled = f"{row['settled']:7}  {row['segments_per_second_without_settling']:10,.0f}"
    peak = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**30:11.2f}"
    bounds = "no" if row["resolve"] == "never" else "yes"
    print(f"{row['segments']:8,}  {bounds:>6}  {row['segments_per_second']:10,.0f}  {settled}  {shares}  {peak}")


if __name__ == "__main__":
    sys.exit(main())
