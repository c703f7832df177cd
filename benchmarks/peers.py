"""Other tools on the same segments: time, and breakpoints missed or invented against the rational truth.

    python benchmarks/peers.py [--quick] [--only TOOL] [--limit SECONDS] [--out FILE.json]

Tools that are not installed are listed as such; benchmarks/README.md says how to install them. All are given the same
question: a network, and segments x + t d with t in [-1, 2]. Tools that need few inputs get the network restricted to
the line, whose only input is t; to restrict it is in their time. A peer has a process of its own and a limit of time.

Tools that take long are asked for the first few segments only. Times are CPU time, that of worker processes included.
A breakpoint is found if one that was returned lies within 1e-6 of it, one for one; for samples, within their distance.
Prints a table for each network and writes all figures as JSON.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any, Literal

import numpy as np
import torch
from measuring import RANGE, between_uniform_points, machine, mlp, parser, write_json
from torch import Tensor, nn

import relu_regions as rr
from relu_regions import rational

SAMPLES = 10_000
NEAR = 1e-6
FEW = 3
Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A network and the segments to walk."""

    name: str
    model: nn.Sequential
    x: Tensor
    d: Tensor


# ---------------------------------------------------------------- the tools: breakpoints of each segment, in order


def walk(case: Case, resolve: Literal["auto", "never"] = "auto") -> list[list[float]]:
    """All segments at once; "never" is without bounds, and nothing proven."""
    paths = rr.walk(case.model, case.x, case.d, RANGE, resolve=resolve, progress=False)
    return [path.breakpoints.tolist() for path in paths]


def plain_numpy(case: Case) -> list[list[float]]:
    """float64, one segment at a time: after each layer, its zeros become points."""
    return [_zeros_become_points(layers) for layers in restricted(case)]


def _zeros_become_points(layers: Layers) -> list[float]:
    t = np.array(RANGE)
    values = t[:, None]
    for weight, bias in layers[:-1]:
        values = values @ weight.T + bias
        row, unit = np.nonzero((values[:-1] < 0) != (values[1:] < 0))
        here, there = values[row, unit], values[row + 1, unit]
        share = here / (here - there)
        new = values[row] + share[:, None] * (values[row + 1] - values[row])
        new[np.arange(len(row)), unit] = 0.0
        at = t[row] + share * (t[row + 1] - t[row])
        order = np.argsort(np.concatenate([t, at]), kind="stable")
        t, values = np.concatenate([t, at])[order], np.concatenate([values, new])[order]
        values = values.clip(min=0.0)
    return t[1:-1].tolist()


def dense_samples(case: Case) -> list[list[float]]:
    """A breakpoint between any two neighbours of 10,000 samples whose patterns differ."""
    t = np.linspace(*RANGE, SAMPLES)
    found = []
    for layers in restricted(case):
        values, changes = t[:, None], np.zeros(SAMPLES - 1, bool)
        for weight, bias in layers[:-1]:
            values = values @ weight.T + bias
            changes |= ((values[1:] > 0) != (values[:-1] > 0)).any(1)
            values = values.clip(min=0.0)
        found.append(((t[1:] + t[:-1]) / 2)[changes].tolist())
    return found


def affinitree(case: Case) -> list[list[float]]:
    """A decision tree of the network restricted to the line; each leaf is an interval."""
    from affinitree import AffFunc, AffTree, Architecture, Polytope, builder

    found = []
    for layers in restricted(case):
        network = Architecture(1)
        for number, (weight, bias) in enumerate(layers):
            if number:
                network.relu()
            network.linear(AffFunc.from_mats(weight, bias))
        segment = AffTree.from_poly(Polytope.hyperrectangle(1, [RANGE]), AffFunc.identity(1), None)
        leaves = [
            p.to_Axleqb()
            for _, node, p in builder.from_layers(network, segment, None).polyhedra()
            if node.is_terminal()
        ]
        found.append(_ends([np.c_[a, -b] for a, b in leaves]))
    return found


def relucent(case: Case) -> list[list[float]]:
    """A search over all regions of the network restricted to the line, certified; each region is an interval."""
    from relucent import Complex

    found = []
    for layers in restricted(case):
        network = mlp(1, *(len(bias) for _, bias in layers)).double()
        for module, (weight, bias) in zip(network[::2], layers):
            module.weight.data, module.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
        regions = Complex(network)
        regions.bfs(start=np.array([[0.5]]), nworkers=1, verbose=0)
        found.append(_ends([region.halfspaces_np[list(region.shis)] for region in regions]))
    return found


def _ends(intervals: list[np.ndarray]) -> list[float]:
    """The upper ends inside the range of intervals, each given by rows (a, b) that say a t + b <= 0."""
    ends = [(-rows[up, 1] / rows[up, 0]).min() for rows in intervals if (up := rows[:, 0] > 0).any()]
    return sorted(float(end) for end in ends if RANGE[0] < end < RANGE[1])


TOOLS: dict[str, tuple[Callable[[Case], list[list[float]]], str | None]] = {
    "relu_regions": (walk, None),
    "relu_regions, no bounds": (partial(walk, resolve="never"), None),
    "plain numpy": (plain_numpy, None),
    f"{SAMPLES:,} samples": (dense_samples, None),
    "affinitree": (affinitree, "affinitree"),
    "relucent": (relucent, "relucent"),
}


def restricted(case: Case) -> list[Layers]:
    """The network as a function of t on each line, in float64."""
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in case.model if isinstance(m, nn.Linear)]
    (weight, bias), rest = layers[0], layers[1:]
    lines = zip(case.x.numpy() @ weight.T + bias, case.d.numpy() @ weight.T)
    return [[(slope[:, None], start), *rest] for start, slope in lines]


# ---------------------------------------------------------------- measuring


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "peers")
    command.add_argument("--only", help="only tools whose name holds this")
    command.add_argument("--limit", type=float, default=120.0, help="seconds for a tool on a network (default 120)")
    options = command.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"{machine()}, CPU time")
    report: dict[str, Any] = {"machine": machine(), "networks": []}
    for case in cases(options.quick):
        truth = [[float(t) for t in path.breakpoints] for path in rational.walk(case.model, case.x, case.d, (-1, 2))]
        true = sum(map(len, truth))
        print(
            f"\n{case.name}, {len(truth)} segments, {true} breakpoints\n{'':26}  segments  ms/segment  missed  "
            "invented  largest error"
        )
        rows = []
        for name in TOOLS:
            if (options.only or "") in name:
                few = len(truth) if TOOLS[name][1] is None else FEW
                part = Case(case.name, case.model, case.x[:few], case.d[:few])
                rows.append({"tool": name, **measured(name, part, truth[:few], options.limit)})
                print_row(rows[-1])
        report["networks"].append({"network": case.name, "segments": len(truth), "breakpoints": true, "tools": rows})
    torch.set_num_threads(threads)
    write_json(report, options.out)
    return 0


def cases(quick: bool) -> list[Case]:
    """Networks from small to large, one without biases on lines through the origin: all its units bend at once."""
    made = []
    networks = {(2, 16, 16, 2): 200, (2, 64, 64, 2): 200, (784, 128, 128, 128, 10): 20}
    for sizes, segments in ({(2, 4, 4, 2): 2} if quick else networks).items():
        torch.manual_seed(0)
        made.append(Case("-".join(map(str, sizes)), mlp(*sizes).double(), *between_uniform_points(segments, sizes[0])))
    torch.manual_seed(0)
    width = 4 if quick else 16
    model = mlp(2, width, width, 2).double()
    for module in model[::2]:
        module.bias.data.zero_()
    d = torch.randn(2 if quick else 20, 2, dtype=torch.float64)
    return [*made, Case(f"2-{width}-{width}-2 without biases, through the origin", model, -d / 4, d)]


def measured(name: str, case: Case, truth: list[list[float]], limit: float) -> dict[str, Any]:
    """One tool on one network."""
    module = TOOLS[name][1]
    if module is not None and find_spec(module) is None:
        return {"outcome": "not installed"}
    answer = answered(name, case) if module is None else in_a_process(name, case, limit)
    if isinstance(answer, str):
        return {"outcome": answer}
    seconds, found = answer
    near = (RANGE[1] - RANGE[0]) / (SAMPLES - 1) if name.endswith("samples") else NEAR
    compared = [compare(own, true, near) for own, true in zip(found, truth)]
    return {
        "outcome": "answered",
        "version": version(module) if module else None,
        "segments": len(truth),
        "ms_per_segment": 1000 * seconds / len(truth),
        "missed": sum(each[0] for each in compared),
        "invented": sum(each[1] for each in compared),
        "max_error": max(each[2] for each in compared),
    }


def answered(name: str, case: Case) -> tuple[float, list[list[float]]]:
    """CPU seconds, and the breakpoints; a first call on little loads and compiles everything, and reads the network."""
    tool, module = TOOLS[name]
    tiny = Case("", mlp(1, 2, 1).double(), torch.zeros(1, 1).double(), torch.ones(1, 1).double())
    tool(case if module is None else tiny)
    before = cpu_seconds()
    found = tool(case)
    return cpu_seconds() - before, found


def cpu_seconds() -> float:
    """CPU time of this process, and of its workers that have ended."""
    return time.process_time() + sum(os.times()[2:4])


def in_a_process(name: str, case: Case, limit: float) -> tuple[float, list[list[float]]] | str:
    """The same in a process of its own, or what became of it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, name, case))
    process.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(limit) else f"more than {limit:g} s"
    except EOFError:
        return "ended without an answer"
    finally:
        process.join(1)
        if process.is_alive() and process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
        process.join()


def _answer(connection: Any, name: str, case: Case) -> None:
    torch.set_num_threads(1)
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some tools talk
    try:
        connection.send(answered(name, case))
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0][:100])


def compare(found: Sequence[float], true: Sequence[float], near: float) -> tuple[int, int, float]:
    """Breakpoints missed, invented, and the largest distance of those that belong together; both in order."""
    i = j = matched = 0
    largest = 0.0
    while i < len(found) and j < len(true):
        if abs(found[i] - true[j]) <= near:
            largest = max(largest, abs(found[i] - true[j]))
            i, j, matched = i + 1, j + 1, matched + 1
        elif found[i] < true[j]:
            i += 1
        else:
            j += 1
    return len(true) - matched, len(found) - matched, largest


def print_row(row: dict[str, Any]) -> None:
    """One tool."""
    label = f"{row['tool']} {row.get('version') or ''}".strip()
    if row["outcome"] != "answered":
        print(f"{label:26}  {row['outcome']}")
        return
    print(
        f"{label:26}  {row['segments']:8}  {row['ms_per_segment']:10.3f}  {row['missed']:6}  {row['invented']:8}  "
        f"{row['max_error']:13.1e}"
    )


if __name__ == "__main__":
    sys.exit(main())
