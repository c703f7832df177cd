"""What a breakpoint costs in time and memory, by width, depth, input size, batch, length, threads and dtype.

    python benchmarks/scaling.py [--quick] [--only NAME] [--rounds N] [--largest N] [--out FILE.json]

One thing changes at a time, the rest stays as in 784-128-128-128-10 with its first weights and t in [-1, 2]. Every
setting is measured with bounds (the default) and without (resolve="never"). Times are the processor's, the best of the
rounds, for a breakpoint; beside them the quotient by the first setting of the table. Prints tables and writes JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import torch
from measuring import between_uniform_points, in_rounds, machine, mlp, parser, peak_memory, write_json
from torch import Tensor

import relu_regions as rr
from relu_regions import rational

BATCHES = (10, 100, 1000, 10_000, 100_000)


@dataclass(frozen=True)
class Setting:
    """What is walked: so many segments, t in [-length / 3, 2 length / 3], torch's threads, and the dtype."""

    widths: tuple[int, ...] = (784, 128, 128, 128, 10)
    segments: int = 100
    length: float = 3.0
    threads: int = 1
    dtype: torch.dtype = torch.float64

    @property
    def t_range(self) -> tuple[float, float]:
        """Around 0, where x lies."""
        return -self.length / 3, 2 * self.length / 3


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "scaling")
    command.add_argument("--only", help="only tables whose name holds this")
    command.add_argument("--rounds", type=int, help="times that everything is measured (default 5; quick 1)")
    command.add_argument("--largest", type=int, default=BATCHES[-1], help="batch (default 100,000)")
    options = command.parse_args(arguments)
    rounds, threads = options.rounds or (1 if options.quick else 5), torch.get_num_threads()
    print(f"{machine()}, best CPU time of {rounds} rounds")
    report: dict[str, Any] = {"machine": machine(), "rounds": rounds, "tables": {}}
    for name, settings in tables(options.quick, options.largest, threads):
        if (options.only or "") in name:
            print_head(name)
            rows = report["tables"][name] = []
            for setting in settings:
                rows.append(measured(setting, rounds))
                print_row(name, rows)
    torch.set_num_threads(threads)
    if (options.only or "") in "float32":
        report["float32"] = float32_error((16, 8, 8, 2) if options.quick else Setting().widths, 20)
        print("\nfloat32 without bounds: {found} breakpoints, in truth {true};".format(**report["float32"]), end=" ")
        print("largest error of t {t:.1e}, of a logit {logits:.1e} of the largest".format(**report["float32"]))
    write_json(report, options.out)
    return 0


def tables(quick: bool, largest: int, threads: int) -> Iterator[tuple[str, list[Setting]]]:
    """What changes, and the settings."""
    base = Setting((16, 8, 8, 2), 4) if quick else Setting()
    small = replace(base, widths=(2, 64, 64, 2))
    inputs, width, *_, outputs = base.widths
    batches = [number for number in BATCHES if number <= largest]
    widths, depths, sizes = (32, 64, 128, 256, 512), (1, 2, 3, 4, 6), (2, 16, 128, 784, 3072)
    lengths, dtypes = (0.03, 0.3, 3.0, 30.0, 300.0), (torch.float64, torch.float32)
    if quick:
        batches, widths, depths, sizes, lengths = batches[:2], (8, 16), (1, 2), (2, 4), (1.0, 3.0)
    wide = replace(base, widths=(inputs, *[4 * width] * 3, outputs), segments=base.segments // 4)
    yield "width", [replace(base, widths=(inputs, w, w, w, outputs)) for w in widths]
    yield "depth", [replace(base, widths=(inputs, *[width] * depth, outputs)) for depth in depths]
    yield "input size", [replace(base, widths=(size, *base.widths[1:])) for size in sizes]
    yield "batch", [replace(base, segments=number) for number in batches if number <= 10_000]
    yield "batch of 2-64-64-2", [replace(small, segments=number) for number in batches]
    yield "length", [replace(base, length=length) for length in lengths]
    yield "threads", [replace(base, threads=number) for number in sorted({1, threads})]
    yield "dtype", [replace(base, dtype=dtype) for dtype in dtypes]
    yield "dtype, four times as wide", [replace(wide, dtype=dtype) for dtype in dtypes]


# ---------------------------------------------------------------- measuring


def drawn(setting: Setting) -> tuple[rr.Network, Tensor, Tensor]:
    """The network, and its segments."""
    torch.manual_seed(0)
    model = mlp(*setting.widths).double()
    return rr.Network.from_module(model, setting.widths[:1]), *between_uniform_points(
        setting.segments, setting.widths[0]
    )


def measured(setting: Setting, rounds: int) -> dict[str, Any]:
    """One row."""
    network, x, d = drawn(setting)
    torch.set_num_threads(setting.threads)
    # In float32 bounds leave nearly every segment to rational arithmetic, which takes minutes.
    kinds = ("never", "auto") if setting.dtype == torch.float64 else ("never",)
    walks = {
        resolve: lambda resolve=resolve: rr.walk(
            network, x, d, setting.t_range, dtype=setting.dtype, resolve=resolve, progress=False
        )
        for resolve in kinds
    }
    paths = walks[kinds[-1]]()
    breakpoints, settled, held = int(paths.breakpoint_counts.sum()), int(paths.settled.sum()), held_bytes(paths)
    del paths
    # What takes long is timed once.
    times = in_rounds(walks, 1 if breakpoints > 1_000_000 else rounds)
    return {
        "setting": {f.name: str(getattr(setting, f.name)) for f in fields(setting)},
        "breakpoints": breakpoints,
        "settled": settled,
        "cpu": {name: min(seconds.cpu for seconds in own) for name, own in times.items()},
        "wall": {name: min(seconds.wall for seconds in own) for name, own in times.items()},
        "bytes_held": held,
        "bytes_peak": peak_memory(walks[kinds[-1]]),
    }


def held_bytes(paths: rr.Paths) -> int:
    """Bytes of all tensors of a result but x and d, which are the caller's."""
    own = [getattr(paths, f.name) for f in fields(paths) if f.name not in ("x", "d")]
    own += [*paths.first_patterns, *(getattr(paths.flips, f.name) for f in fields(paths.flips))]
    return sum(part.numel() * part.element_size() for part in own if isinstance(part, Tensor))


def float32_error(widths: tuple[int, ...], segments: int) -> dict[str, Any]:
    """The error of breakpoints and logits in float32, where float32 finds the true number of breakpoints."""
    setting = Setting(widths, segments)
    network, x, d = drawn(setting)
    # The question in numbers that float32 has, so that only the walk's own rounding is in the answer.
    x, d = x.float(), d.float()
    single = network.to(torch.float32, x.device).to(torch.float64, x.device)
    found = rr.walk(single, x, d, setting.t_range, dtype=torch.float32, resolve="never", progress=False)
    report = {"segments": segments, "found": 0, "true": 0, "compared": 0, "t": 0.0, "logits": 0.0}
    for path, true in zip(found, rational.walk(single, x, d, tuple(map(Fraction, setting.t_range)))):
        report["found"] += len(path.breakpoints)
        report["true"] += len(true.breakpoints)
        if len(path.t) == len(true.t):
            report["compared"] += 1
            exact = torch.tensor(
                [[float(number) for number in true.outputs_at(t)] for t in true.t], dtype=torch.float64
            )
            t = torch.tensor([float(t) for t in true.t], dtype=torch.float64)
            report["t"] = max(report["t"], float((path.t - t).abs().max()))
            error = (path.outputs - exact).abs().max() / exact.abs().max()
            report["logits"] = max(report["logits"], float(error))
    return report


# ---------------------------------------------------------------- telling


def print_head(name: str) -> None:
    """The columns."""
    print(
        f"\n{name:24}  breakpoints  settled  µs each, no bounds  / first  µs each, bounds  / first  bytes held  at peak"
    )


def print_row(name: str, rows: list[dict[str, Any]]) -> None:
    """The last row beside the first."""
    row, first = rows[-1], rows[0]
    setting = row["setting"]
    key = {"batch": "segments", "length": "length", "threads": "threads", "dtype": "dtype"}.get(
        name.split()[0].strip(",")
    )
    label = setting[key].removeprefix("torch.") if key else setting["widths"].strip("()").replace(", ", "-")
    cells = f"{row['breakpoints']:11,}  {row['settled']:7}"
    for resolve, wide in (("never", 18), ("auto", 15)):
        if resolve not in row["cpu"]:
            cells += " " * (wide + 11)
            continue
        own, other = (1e6 * r["cpu"][resolve] / max(1, r["breakpoints"]) for r in (row, first))
        cells += f"  {own:{wide}.3f}  {own / other:7.2f}"
    bytes_each = [row[key] / max(1, row["breakpoints"]) for key in ("bytes_held", "bytes_peak")]
    print(f"{label:24}  {cells}  {bytes_each[0]:10.0f}  {bytes_each[1]:7.0f}")


if __name__ == "__main__":
    sys.exit(main())
