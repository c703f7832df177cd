"""Kept traces: a module is traced once, and its trace is used again only where that is the module as it is now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.reading.recording import Recording, record
from relu_regions.network.reading.traced_graph import TracedGraph
from relu_regions.network.reading.tracing import LOCK, exported, recorded, tensors_of

__all__ = ["Trace", "traced"]


@dataclass(frozen=True)
class Trace:
    """A traced module.

    Attributes:
        graph: what it computes.
        outputs: what it returned for two rows.
        rows: these rows.
        fresh: whether it was traced just now.
    """

    graph: TracedGraph
    outputs: Any
    rows: Tensor
    fresh: bool


# What a module calls on two rows and on one: a number that both give is not the size of the batch.
Runs = tuple[Recording, Recording]
# These, on rows of what kind, and the module's submodules' names, which messages give.
Key = tuple[Runs, str, tuple[int, ...], torch.dtype, str, tuple[tuple[str, str], ...]]
_KEPT: OrderedDict[Key, TracedGraph] = OrderedDict()
_MOST_KEPT = 64


def traced(model: nn.Module, rows: Tensor, program: ExportedProgram | None = None) -> Trace:
    """The trace of a module as it is now.

    The module runs on two rows and on one of them, and what it calls is recorded. A kept trace is used if the module
    called the same when that trace was made; otherwise the module is traced anew, and running the trace must call the
    same as running the module.

    Args:
        model: in eval mode.
        rows: ``(2, *input_shape)``, in the model's dtype, on its device.
        program: the model as torch.export has just traced it, if it has.

    Raises:
        ValueError: the module does not take such rows.
        UnsupportedOperation: its control flow depends on data, its answer on chance, on the calls before or on the size
            of the batch, or it acts otherwise when it is traced.
    """
    tensors = tensors_of(model)
    with LOCK, torch.autocast(rows.device.type, enabled=False):
        runs = _runs(model, rows, tensors)
        key = _key(model, rows, runs)
        if key in _KEPT:
            _KEPT.move_to_end(key)
            return Trace(_KEPT[key], runs[0].outputs, rows, fresh=False)
        program = program or exported(model, tuple(rows.shape[1:]))
        runs = _lasting(model, rows, tensors, runs)
        graph = TracedGraph.of(program).with_branches(tensors)
        _check_trace(TracedGraph.as_traced(program), rows, tensors, runs)
        _KEPT[_key(model, rows, runs)] = graph.with_own_constants()
        while len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
        return Trace(graph, runs[0].outputs, rows, fresh=True)


def _lasting(model: nn.Module, rows: Tensor, tensors: Mapping[str, Tensor], runs: Runs) -> Runs:
    """The runs of a module if they are the same each time, apart from a first one, which may fill a cache."""
    for _ in range(2):
        before, runs = runs, _runs(model, rows, tensors)
        if runs == before:
            return runs
    raise UnsupportedOperation(
        "Two calls of the model on the same rows did different things: its answer depends on chance or on the calls "
        "before; relu_regions walks networks that are functions of x alone."
    )


def _check_trace(graph: TracedGraph, rows: Tensor, tensors: Mapping[str, Tensor], runs: Runs) -> None:
    of_two, of_one = (record(lambda x: graph.run(x, tensors), part.clone(), tensors) for part in (rows, rows[:1]))
    if of_two != runs[0]:
        raise UnsupportedOperation(
            "The model does other things when torch.export traces it than when it is called "
            f"({_difference(of_two, runs[0])}): its forward pass may ask whether it is traced or compiled. Make it do "
            "the same in both."
        )
    if of_one != runs[1]:
        raise UnsupportedOperation(
            f"The model does other things with one point than with several ({_difference(of_one, runs[1])}): its "
            "answer depends on the size of the batch. Make it treat each point alike."
        )


def _difference(traced: Recording, called: Recording) -> str:
    differing = (pair for pair in zip_longest(traced.calls, called.calls) if pair[0] != pair[1])
    one, other = (call.operation if call else "nothing" for call in next(differing, (None, None)))
    return f"{one} where the call has {other}" if one != other else f"{one} on other numbers or tensors"


def _runs(model: nn.Module, rows: Tensor, tensors: Mapping[str, Tensor]) -> Runs:
    return recorded(model, rows, tensors), recorded(model, rows[:1], tensors)


def _key(model: nn.Module, rows: Tensor, runs: Runs) -> Key:
    names = tuple((name, type(module).__qualname__) for name, module in model.named_modules())
    two, one = (replace(run, outputs=None) for run in runs)
    return (two, one), two.structure, tuple(rows.shape[1:]), rows.dtype, str(rows.device), names
