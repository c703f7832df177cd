"""Intervals of many lines, in chunks that are kept on disk: what was computed once is not computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from relu_regions.apps.reproduction.cache import Arrays, read_npz, save_npz
from relu_regions.apps.reproduction.results import Run
from relu_regions.intervals.interval import exact_interval
from relu_regions.intervals.sampling import sampled_interval
from relu_regions.lines.directions import Lines
from relu_regions.network.arrays import Floats
from relu_regions.network.network import Network

__all__ = ["intervals", "lengths", "subset"]

Columns = Arrays

# Part of every key: raise it when the same question would get another answer.
_VERSION = 1
_CHUNK = 4096
_MEMORY = 1 << 29
_KEPT = ("lo", "hi", "label", "certain", "settled")


def intervals(
    run: Run,
    models: Sequence[nn.Module],
    lines: Sequence[Lines],
    what: str,
    *,
    num: int | None = None,
) -> list[Columns]:
    """The generalization intervals of each network along its own lines.

    They are exact: what rounding leaves in doubt is settled in rational arithmetic, and ``certain`` says which are
    proven.

    Args:
        run: where the cache lies, and whether progress is shown.
        models: the networks.
        lines: for each network.
        what: named in the progress bar.
        num: samples of each line, for intervals by sampling (the paper's way) instead of exact ones.

    Returns:
        For each network ``lo``, ``hi``, ``label`` and, where exact, ``certain`` and ``settled``: (N,) arrays.
    """
    tasks = [
        (
            place,
            run.cache / "intervals" / _key(model, of_model, num) / f"{start:08d}.npz",
            of_model[start : start + _CHUNK],
        )
        for place, (model, of_model) in enumerate(zip(models, lines))
        for start in range(0, len(of_model), _CHUNK)
    ]
    networks = [Network.from_module(model, of_model.points.shape[1:]) for model, of_model in zip(models, lines)]
    parts: list[list[Columns]] = [[] for _ in models]
    pool = ThreadPoolExecutor(run.workers)
    disable = None if run.progress is None else not run.progress
    with tqdm(total=sum(map(len, lines)), desc=what, unit="line", disable=disable) as bar:
        try:
            found = pool.map(lambda task: _kept(task[1], networks[task[0]], task[2], num), tasks)
            for (place, _, chunk), columns in zip(tasks, found):
                parts[place].append(columns)
                bar.update(len(chunk))
        finally:
            # Interrupted, it ends with the chunks it is at, and does not begin others.
            pool.shutdown(cancel_futures=True)
    return [{name: np.concatenate([part[name] for part in of_model]) for name in of_model[0]} for of_model in parts]


def lengths(columns: Columns) -> Floats:
    """The lengths of intervals, (N,)."""
    return np.asarray(columns["hi"] - columns["lo"], dtype=np.float64)


def subset(lines: Lines, number: int | None, seed: int) -> Lines:
    """As many of the lines, drawn at random without replacement; all if there are no more, or for None."""
    if number is None or number >= len(lines):
        return lines
    chosen = np.random.default_rng([seed, 7]).choice(len(lines), number, replace=False)
    return lines[torch.from_numpy(np.sort(chosen))]


def _kept(path: Path, network: Network, lines: Lines, num: int | None) -> Columns:
    """A chunk, read if it is there and computed otherwise."""
    if path.exists():
        with read_npz(path, "compute these intervals") as kept:
            return kept
    x, d, t_range = lines.x, lines.d, lines.t_range
    if num is None:
        found = exact_interval(network, x, d, t_range, memory_budget=_MEMORY)
    else:
        found = sampled_interval(network, x, d, t_range, num=num, memory_budget=_MEMORY, progress=False)
    columns = {name: column for name, column in found.numpy().items() if name in _KEPT}
    columns["label"] = columns["label"].astype(np.int16)
    save_npz(path, columns)
    return columns


def _key(model: nn.Module, lines: Lines, num: int | None) -> str:
    """A name for the network, the lines and the method."""
    digest = hashlib.sha256(repr((_VERSION, _CHUNK, num, str(model), lines.t_range)).encode())
    digest.update(repr((lines.x_weights, lines.d_weights, tuple(lines.points.shape))).encode())
    for tensor in (*model.state_dict().values(), lines.points, lines.members):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]
