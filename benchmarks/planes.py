"""Every region of a plane, against dense sampling of it and against other tools.

    python benchmarks/planes.py [--quick] [--rounds N] [--largest 2048] [--out FILE.json]

Networks of several widths and depths with torch's first weights, on the square [−1, 1]² of (s, t), float64, one core:
the processor time of walk_plane for a face; without bounds, and in rational arithmetic, by that; and the time of
samples on a grid, and how many regions and how much of the area they get wrong. The sampler, like the other tools, gets
the network restricted to the plane, which has two inputs, so that a first layer of many inputs costs it nothing.
benchmarks/README.md says how to install the other tools; those that are not there are listed as such.
Then triangles of a network of digits, by how many go in one call. Prints ratios of one round, and writes JSON.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from measuring import gemm_rate, in_rounds, machine, mlp, parser, quotient, write_json
from torch import Tensor, nn

import relu_regions as rr

SQUARE = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
WALK, UNPROVEN, RATIONAL = "walk_plane", "without bounds", "rational"
# Rational arithmetic takes up to a millisecond a face.
FACES_IN_RATIONAL = 5000
POINTS = 1 << 20


@dataclass(frozen=True)
class Case:
    """A network and a plane."""

    name: str
    model: nn.Sequential
    x: Tensor
    u: Tensor
    v: Tensor

    def restricted(self) -> nn.Sequential:
        """The network as a function of (s, t)."""
        first = nn.Linear(2, self.model[0].out_features, dtype=torch.float64)
        weight = self.model[0].weight.detach()
        first.weight.data = torch.cat([self.u, self.v]).matmul(weight.T).T.contiguous()
        first.bias.data = self.x[0] @ weight.T + self.model[0].bias.detach()
        return nn.Sequential(first, *self.model[1:]).eval()


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    command = parser(__doc__, "planes")
    command.add_argument("--rounds", type=int, help="times that everything is measured (default 5; quick 1)")
    command.add_argument("--largest", type=int, help="side of the largest grid (default 2048; quick 64)")
    options = command.parse_args(arguments)
    rounds, before = options.rounds or (1 if options.quick else 5), torch.get_num_threads()
    largest = options.largest or (64 if options.quick else 2048)
    torch.set_num_threads(1)
    rate = gemm_rate()
    print(f"{machine()}, float64, {rounds} rounds; products of 1024×1024 matrices reach {rate / 1e9:.0f} GFLOP/s")
    absent = [name for name, tool in PEERS.items() if tool is None]
    print(f"Not installed: {', '.join(absent) or 'none of the other tools'}.\n")
    networks = []
    for case in cases(options.quick):
        networks.append(measured(case, rounds, [n for n in (64, 512, 2048) if n <= largest], rate))
        print_network(networks[-1])
    triangles = batches(options.quick, rounds)
    print_triangles(triangles)
    torch.set_num_threads(before)
    report = {"machine": machine(), "rounds": rounds, "products": rate, "absent": absent}
    write_json(report | {"networks": networks, "triangles": triangles}, options.out)
    return 0


def cases(quick: bool) -> list[Case]:
    """The networks and planes of the benchmark."""
    shapes = [(2, 16, 16, 2)] if quick else [(2, 32, 32, 2), (2, 64, 64, 2), (2, 128, 128, 2), (2, *[64] * 4, 2)]
    made = []
    for widths in shapes:
        torch.manual_seed(0)
        x, u, v = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
        made.append(Case("-".join(map(str, widths)), mlp(*widths).double(), x, u, v))
    widths = (36, 16, 16, 10) if quick else (784, 128, 128, 128, 10)
    torch.manual_seed(0)
    model = mlp(*widths).double()
    torch.manual_seed(0)
    a, b, c = torch.rand(3, 1, widths[0]).double()
    # The square around the three points' triangle: (s, t) from -1 to 2 along b - a and c - a.
    u, v = 1.5 * (b - a), 1.5 * (c - a)
    return [*made, Case("-".join(map(str, widths)), model, a + (b - a) / 2 + (c - a) / 2, u, v)]


# ---------------------------------------------------------------- one network


def measured(case: Case, rounds: int, sides: list[int], rate: float) -> dict[str, Any]:
    """Times and errors of all methods on one network."""
    plane = rr.walk_plane(case.model, case.x, case.u, case.v, SQUARE)
    faces, restricted = len(plane.areas), case.restricted()
    network = rr.Network.from_module(case.model, case.x.shape[1:])
    walk = partial(rr.walk_plane, network, case.x, case.u, case.v, SQUARE)
    methods: dict[str, Callable[[], object]] = {WALK: walk, UNPROVEN: partial(walk, resolve="never")}
    methods |= {f"{side}² samples": partial(labels_on_grid, restricted, side) for side in sides}
    counts: dict[str, int] = {}
    for name, tool in PEERS.items():
        if tool is not None:
            asked = tool(restricted)
            counts[name], methods[name] = asked(), asked
    times = in_rounds(methods, rounds)
    if faces <= FACES_IN_RATIONAL:
        exact = partial(rr.rational.walk_plane, network, case.x, case.u, case.v, SQUARE)
        times[RATIONAL] = in_rounds({RATIONAL: exact}, 1)[RATIONAL] * rounds
    walks = [seconds.cpu for seconds in times[WALK]]
    of_face = statistics.median(walks) / faces
    return {
        "network": case.name,
        "faces": faces,
        "decided_by": plane.decided_by[0],
        "microseconds": {name: 1e6 * statistics.median(t.cpu for t in each) / faces for name, each in times.items()},
        "microseconds_at_40_gflops": 1e6 * of_face * rate / 40e9,
        "by_walk_plane": {name: quotient([t.cpu for t in each], walks) for name, each in times.items()},
        "samples": {str(side): errors_of(restricted, side, faces) for side in sides},
        "regions_of_other_tools": counts,
    }


def grid(side: int) -> Tensor:
    """The middles of so many squares along each side, ``(side², 2)``, row by row."""
    middles = (2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1
    return torch.cartesian_prod(middles, middles)


@torch.no_grad()
def labels_on_grid(model: nn.Sequential, side: int) -> Tensor:
    """The class at every sample, in stacks that fit the processor's caches."""
    return torch.cat([model(points).argmax(1) for points in grid(side).split(4096)])


@torch.no_grad()
def errors_of(model: nn.Sequential, side: int, faces: int) -> dict[str, float]:
    """The share of regions without a sample; and of the area where the nearest sample has another class.

    The area is estimated at random points, of which each has the class that the network gives it there.
    """
    generator = torch.Generator().manual_seed(0)
    widest = sum(layer.out_features for layer in model if isinstance(layer, nn.Linear))
    # Sums of random numbers below 2^43 are exact: a name for each pattern.
    names = torch.randint(1 << 43, (widest, 2), generator=generator).double()
    seen = torch.cat([keys(model, points, names) for points in grid(side).split(16384)]).unique()
    points = 2 * torch.rand(POINTS, 2, dtype=torch.float64, generator=generator) - 1
    place = ((points + 1) / 2 * side).long().clamp(0, side - 1)
    sampled = labels_on_grid(model, side)[place[:, 0] * side + place[:, 1]]
    true = torch.cat([model(some).argmax(1) for some in points.split(4096)])
    missed = max(0, faces - len(seen)) / faces
    return {"regions_missed": missed, "area_misjudged": float((sampled != true).double().mean())}


def keys(model: nn.Sequential, values: Tensor, names: Tensor) -> Tensor:
    """A number for the activation pattern of each point."""
    total, done = torch.zeros(len(values), 2, dtype=torch.float64), 0
    for layer in model[:-1]:
        values = layer(values)
        if isinstance(layer, nn.Linear):
            total += (values > 0).double() @ names[done : done + layer.out_features]
            done += layer.out_features
    first, second = total.long().T
    return first * 1_000_003 + (second << 20)  # modulo 2^64


# ---------------------------------------------------------------- other tools: each counts the regions


def _edge_subdivision(model: nn.Sequential) -> Callable[[], int]:
    """Berzins, Polyhedral Complex Extraction from ReLU Networks using Edge Subdivision, 2023; float32."""
    from edge_subdivision import skeletal_subdivision
    from NN import Net

    hidden = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    network = Net(ks=[2, *(layer.out_features for layer in hidden)])
    for own, layer in zip(network.fcs, hidden):
        own.weight.data, own.bias.data = layer.weight.data.float(), layer.bias.data.float()

    @torch.no_grad()
    def count() -> int:
        cpu = torch.device("cpu")
        vertices, edges, _ = skeletal_subdivision(network, bbox=(-1, 1), device=cpu, verbose=False)
        return 1 - len(vertices) + len(edges)

    return count


def _regioncam(model: nn.Sequential) -> Callable[[], int]:
    """regioncam, a library in Rust; float32."""
    import regioncam

    layers = [(layer.weight.detach().float().T.contiguous(), layer.bias.detach().float()) for layer in model[::2]]

    def count() -> int:
        regions = regioncam.Regioncam(size=1)
        for number, (weight, bias) in enumerate(layers):
            if number:
                regions.relu()
            regions.linear(weight.numpy(), bias.numpy())
        return int(regions.num_faces)

    return count


def _if_there(module: str, tool: Callable[[nn.Sequential], Callable[[], int]]) -> Any:
    return tool if find_spec(module) else None


PEERS: dict[str, Callable[[nn.Sequential], Callable[[], int]] | None] = {
    "edge_subdivision": _if_there("edge_subdivision", _edge_subdivision),
    "regioncam": _if_there("regioncam", _regioncam),
}


# ---------------------------------------------------------------- many triangles


def batches(quick: bool, rounds: int) -> dict[str, Any]:
    """Time for a face of triangles between digits of a class, by how many go in one call."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16), torch.tensor(labels)
    torch.manual_seed(0)
    model = mlp(64, 64, 64, 10).double().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(10 if quick else 200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    network = rr.Network.from_module(model.eval(), (64,))
    most = 20 if quick else 1000
    family = rr.directions.triangles(x, y, number=most)
    planes = rr.walk_plane(network, *family.planes)
    faces = int(planes.face_counts.sum())

    def in_calls_of(size: int) -> None:
        for batch in family.batches(size):
            rr.walk_plane(network, *batch)

    sizes = [size for size in (1, 10, 100, 1000, most) if size <= most]
    times = in_rounds({str(size): partial(in_calls_of, size) for size in dict.fromkeys(sizes)}, rounds)
    return {
        "triangles": most,
        "faces": faces,
        "certain": int(planes.certain.sum()),
        "microseconds": {size: 1e6 * statistics.median(t.cpu for t in each) / faces for size, each in times.items()},
    }


# ---------------------------------------------------------------- what is printed


def print_network(row: dict[str, Any]) -> None:
    """A table of one network."""
    print(f"{row['network']}: {row['faces']:,} faces, proven by {row['decided_by']}", end="; ")
    print(f"at 40 GFLOP/s walk_plane would take {row['microseconds_at_40_gflops']:.1f} µs a face")
    heads = f"{'µs / face':>10} {'/ walk_plane':>13} {'regions':>9} {'regions missed':>15} {'area misjudged':>15}"
    print(f"    {'':18} {heads}")
    for name, time in row["microseconds"].items():
        count = row["regions_of_other_tools"].get(name)
        errors = row["samples"].get(name.partition("²")[0])
        told = f"{errors['regions_missed']:15.1%} {errors['area_misjudged']:15.4%}" if errors else ""
        found = f"{count:9,}" if count is not None else " " * 9
        print(f"    {name:18} {time:10.2f} {row['by_walk_plane'][name]:13.2f} {found} {told}".rstrip())
    print()


def print_triangles(found: dict[str, Any]) -> None:
    """How batches pay."""
    proven = f"{found['faces']:,} faces, {found['certain']:,} planes proven"
    print(f"{found['triangles']:,} triangles of digits, 64-64-64-10: {proven}")
    for size, time in found["microseconds"].items():
        print(f"    {size:>5} in a call: {time:8.2f} µs / face")


if __name__ == "__main__":
    sys.exit(main())
