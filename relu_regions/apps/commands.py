"""The subcommands of `relu-regions`. Needs the extra "demo" (typer and rich)."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast, get_args

import numpy as np
import typer
from numpy.typing import NDArray

from relu_regions import __version__
from relu_regions.apps.array_files import array_named
from relu_regions.intervals.interval import exact_interval
from relu_regions.lines.directions import planes_through
from relu_regions.lines.line_batch import LineBatch
from relu_regions.lines.progress import Progress
from relu_regions.network.network import Network
from relu_regions.planes.walk_plane import walk_plane
from relu_regions.plot.files import replacing
from relu_regions.plot.plane_parts import Colour

__all__ = ["application"]

_LINES_AT_ONCE = 1024

application = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"relu-regions {__version__}")
        raise typer.Exit


@application.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Exact linear regions and generalization intervals of piecewise-linear networks."""


ModelFile = Annotated[Path, typer.Option("--model", help="A torch.export program (.pt2) or an ONNX file (.onnx).")]


@application.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("relu_regions_demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the data, the weights and the sample.")] = 0,
    per_class: Annotated[int, typer.Option(min=2, help="Samples of each class whose pairs are walked.")] = 10,
) -> None:
    """Train on real digits and two moons, and compare exact intervals with sampled ones; takes seconds."""
    from relu_regions.apps.demo import run_demo

    run_demo(out, seed=seed, per_class=per_class)


@application.command()
def describe(model: ModelFile) -> None:
    """Show a model as the walk sees it: its steps, and the units that bend."""
    print(_network(model).describe())


@application.command()
def interval(
    model: ModelFile,
    x: Annotated[Path, typer.Option("--x", help="Points (N, *input_shape): .npy, or .npz with an array x.")],
    d: Annotated[
        Path | None,
        typer.Option("--d", help="Directions, one or N: .npy, or .npz with an array d; by default that of --x."),
    ] = None,
    t_range: Annotated[tuple[float, float], typer.Option("--range", help="Ends of t around 0.", metavar="LO HI")] = (
        -math.inf,
        math.inf,
    ),
    out: Annotated[
        Path | None, typer.Option(help="Result: .csv, .json or .npz; by default CSV on standard output.")
    ] = None,
) -> None:
    """How far along x + t d the class at x holds, exactly."""
    if out is not None:
        _check_out(out, _WRITERS)
    network = _network(model)
    directions = array_named(x, "d", alone=False) if d is None else array_named(d, "d")
    found = _intervals(LineBatch.of(network, array_named(x, "x"), directions, t_range), t_range)
    if out is None:
        _write_csv(found, sys.stdout.buffer)
    else:
        _write(found, out)
        print(f"{len(found['lo'])} intervals in {out}")


@application.command()
def plane(
    model: ModelFile,
    x: Annotated[Path, typer.Option("--x", help="Three points (3, *input_shape): .npy, or .npz with an array x.")],
    margin: Annotated[
        float, typer.Option(help="By how much to enlarge the points' triangle: 1 makes its sides twice as long.")
    ] = 0.0,
    colour: Annotated[str, typer.Option(help="Of pictures: class, norm, region or margin.")] = "class",
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Result: .json, .png, .svg or .html; several if given again. By default a summary as JSON."),
    ] = None,
) -> None:
    """Every region and class in the plane through three points, exactly."""
    from relu_regions.apps import plane_files

    for path in out or []:
        _check_out(path, plane_files.SUFFIXES)
    if colour not in get_args(Colour):
        raise ValueError(f"--colour must be one of {', '.join(get_args(Colour))}, not {colour}")
    network, points = _network(model), array_named(x, "x")
    if points.shape != (3, *network.input_shape):
        raise ValueError(f"--x must hold three points, shape {(3, *network.input_shape)}, not {points.shape}")
    a, b, c = points.reshape(3, 1, *network.input_shape)
    found = walk_plane(network, *planes_through(a, b, c, margin))
    for path in out or []:
        plane_files.write(found, path, cast(Colour, colour))
        print(f"{int(found.face_counts)} regions in {path}")
    if not out:
        print(json.dumps(plane_files.summary(found), indent=1))


@application.command()
def reproduce(
    experiments: Annotated[list[str], typer.Argument(help="figure1 to figure9, beyond_…, or all.", metavar="NAME...")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with mnist.npz and cifar10.npz (or IDX files), or one file.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for numbers and pictures; a run that broke off goes on.")] = Path(
        "results"
    ),
    seeds: Annotated[int | None, typer.Option(min=1, help="Networks of each kind: 5, or 2 with --quick.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that compute intervals.")] = os.cpu_count() or 1,
    quick: Annotated[bool, typer.Option("--quick", help="Digits and two moons, little of all: needs no data.")] = False,
) -> None:
    """Repeat the paper's figures with exact intervals: a JSON of all numbers, a PNG and an SVG for each."""
    from relu_regions.apps.reproduction.reproduce import reproduce
    from relu_regions.apps.reproduction.results import Run

    run = Run(out, data, seeds or (2 if quick else 5), quick, workers)
    for name in reproduce(experiments, run):
        print(f"{name}: {out / name}.json, .png and .svg", flush=True)


# ---------------------------------------------------------------- in


def _network(path: Path) -> Network:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == ".onnx":
        return Network.from_onnx(path)
    if path.suffix == ".pt2":
        return Network.from_exported(path)
    raise ValueError(
        f"{path} is neither .pt2 nor .onnx: save a model with "
        "torch.export.save(torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('N')},)), 'model.pt2')"
    )


# ---------------------------------------------------------------- out

Columns = dict[str, NDArray[Any]]


def _check_out(path: Path, suffixes: Collection[str]) -> None:
    if path.suffix not in suffixes:
        raise ValueError(f"--out must end in {', '.join(suffixes)}, not {path.suffix or 'nothing'}: {path}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise ValueError(f"--out must name a file, {path} is a folder")


def _intervals(lines: LineBatch, t_range: tuple[float, float]) -> Columns:
    """The intervals of all lines, batch by batch."""
    parts = []
    with Progress(len(lines), "intervals") as bar:
        for start in range(0, max(1, len(lines)), _LINES_AT_ONCE):
            rows = slice(start, start + _LINES_AT_ONCE)
            parts.append(exact_interval(lines.network, lines.x[rows], lines.d[rows], t_range).numpy())
            bar.reach(start + len(parts[-1]["lo"]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _write(columns: Columns, path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        _WRITERS[path.suffix](columns, file)


def _write_npz(columns: Columns, file: BinaryIO) -> None:
    np.savez(file, **columns)  # type: ignore[arg-type]


def _write_csv(columns: Columns, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["line", *columns])
    writer.writerows(zip(range(len(columns["lo"])), *(column.tolist() for column in columns.values())))
    text.detach()


def _write_json(columns: Columns, file: BinaryIO) -> None:
    # JSON has no infinity: it is written as the string "inf" or "-inf", which float() reads.
    rows = [
        {name: str(value) if value in (math.inf, -math.inf) else value for name, value in zip(columns, row)}
        for row in zip(*(column.tolist() for column in columns.values()))
    ]
    file.write(json.dumps(rows, indent=1, allow_nan=False).encode() + b"\n")


_WRITERS: dict[str, Callable[[Columns, BinaryIO], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".npz": _write_npz,
}
