"""Traces of torch modules: made by torch.export, kept, and used again only where they are the model as it is now."""

from __future__ import annotations

import signal
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from traceback import walk_tb
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from relu_regions.network.reading.binding import Graph
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.reading.recording import Recording, record

__all__ = ["Trace", "example_of", "exported", "outputs_of", "tensors_of", "traced"]


@dataclass(frozen=True)
class Trace:
    """A traced module.

    Attributes:
        graph: what it computes.
        outputs: what it returned for two rows.
        rows: these rows.
        fresh: whether it was traced just now.
    """

    graph: Graph
    outputs: Any
    rows: Tensor
    fresh: bool


# What a module calls on two rows and on one: a number that both give is not the size of the batch.
Runs = tuple[Recording, Recording]
# These, on rows of what kind, and the module's submodules' names, which messages give.
Key = tuple[Runs, str, tuple[int, ...], torch.dtype, str, tuple[tuple[str, str], ...]]
_KEPT: OrderedDict[Key, Graph] = OrderedDict()
_MOST_KEPT = 64

# torch.export swaps the parameters of the module that it traces, and keeps its state in globals.
_LOCK = threading.RLock()


def traced(model: nn.Module, rows: Tensor, program: ExportedProgram | None = None) -> Trace:
    """The trace of a module as it is now.

    The module runs on two rows and on one of them, and what it calls is recorded. A kept trace is used if the module called
    the same when that trace was made; otherwise the module is traced anew, and running the trace must call the same as
    running the module.

    Args:
        model: in eval mode.
        rows: ``(2, *input_shape)``, in the model's dtype, on its device.
        program: the model as torch.export has just traced it, if it has.

    Raises:
        ValueError: the module does not take such rows.
        UnsupportedOperation: its control flow depends on data, its answer on chance, on the calls before or on the size of
            the batch, or it acts otherwise when it is traced.
    """
    tensors = tensors_of(model)
    with _LOCK, torch.autocast(rows.device.type, enabled=False):
        runs = _runs(model, rows, tensors)
        key = _key(model, rows, runs)
        if key in _KEPT:
            _KEPT.move_to_end(key)
            return Trace(_KEPT[key], runs[0].outputs, rows, fresh=False)
        program = program or exported(model, tuple(rows.shape[1:]))
        runs = _lasting(model, rows, tensors, runs)
        graph = Graph.of(program)
        _check_trace(Graph.as_traced(program), rows, tensors, runs)
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


def _check_trace(graph: Graph, rows: Tensor, tensors: Mapping[str, Tensor], runs: Runs) -> None:
    of_two, of_one = (record(lambda x: graph.run(x, tensors), part.clone(), tensors) for part in (rows, rows[:1]))
    if of_two != runs[0]:
        raise UnsupportedOperation(
            f"The model does other things when torch.export traces it than when it is called ({_difference(of_two, runs[0])}): "
            "its forward pass may ask whether it is traced or compiled. Make it do the same in both."
        )
    if of_one != runs[1]:
        raise UnsupportedOperation(
            f"The model does other things with one point than with several ({_difference(of_one, runs[1])}): its answer "
            "depends on the size of the batch. Make it treat each point alike."
        )


def _difference(traced: Recording, called: Recording) -> str:
    differing = (pair for pair in zip_longest(traced.calls, called.calls) if pair[0] != pair[1])
    one, other = (call.operation if call else "nothing" for call in next(differing, (None, None)))
    return f"{one} where the call has {other}" if one != other else f"{one} on other numbers or tensors"


def _runs(model: nn.Module, rows: Tensor, tensors: Mapping[str, Tensor]) -> Runs:
    return _recorded(model, rows, tensors), _recorded(model, rows[:1], tensors)


def _key(model: nn.Module, rows: Tensor, runs: Runs) -> Key:
    names = tuple((name, type(module).__qualname__) for name, module in model.named_modules())
    two, one = (replace(run, outputs=None) for run in runs)
    return (two, one), two.structure, tuple(rows.shape[1:]), rows.dtype, str(rows.device), names


def exported(model: nn.Module, shape: tuple[int, ...]) -> ExportedProgram:
    """A module as torch.export traces it, which computes shapes only; no number of it is touched.

    Raises:
        ValueError: the module does not take a batch of inputs of that shape.
        UnsupportedOperation: its control flow depends on data.
    """
    example = example_of(model, shape)
    with _LOCK, torch.no_grad(), torch.autocast(example.device.type, enabled=False), _interrupts_held_back():
        try:
            return torch.export.export(model, (example,), dynamic_shapes=({0: Dim("N")},))
        except UnsupportedOperation:
            raise
        except Exception as error:
            raise _explained(error, model, shape) from error


def outputs_of(model: nn.Module, x: Tensor) -> Any:
    """What a module returns for rows, as it is; no other thread's reading changes it meanwhile."""
    with _LOCK, torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        return model(x)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module by name, tied ones under each of their names."""
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


def example_of(model: nn.Module, shape: tuple[int, ...], count: int = 3) -> Tensor:
    """Rows of random numbers as a module takes them: the same for every module of the shape."""
    first = next(model.parameters(), next(model.buffers(), torch.zeros(())))
    dtype = first.dtype if first.dtype.is_floating_point else torch.get_default_dtype()
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)).to(first.device, dtype)


# ---------------------------------------------------------------- one run, one export


def _recorded(model: nn.Module, rows: Tensor, tensors: Mapping[str, Tensor]) -> Recording:
    try:
        return record(model, rows.clone(), tensors)
    except UnsupportedOperation as error:
        raise UnsupportedOperation(f"Cannot read {_where(error, model)}. {error}") from None
    except Exception as error:
        raise _explained(error, model, tuple(rows.shape[1:])) from error


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the module has its parameters back; a second one is not held back.

    Interrupted halfway, torch.export can leave its own state, or a module's, as it was in between.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    interrupted: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted.append(number)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupted:
        raise KeyboardInterrupt


def _explained(error: Exception, model: nn.Module, shape: tuple[int, ...]) -> Exception:
    name, reason = type(error).__name__, str(error).strip().split("\n")[0]
    if "DataDependent" in name or "data-dependent" in reason.lower():
        return UnsupportedOperation(
            f"The control flow of {_where(error, model)} depends on the model's data ({reason}); such a model is not "
            "continuous and piecewise linear."
        )
    return ValueError(
        f"torch.export could not trace the model on a batch of inputs of shape {shape} ({name}: {reason}). "
        "Check that x has the shape the model takes, batch first, and that the model works for any batch size."
    )


def _where(error: Exception, model: nn.Module) -> str:
    """The innermost module whose forward pass an error came out of, by its path in the model."""
    paths = {id(module): path for path, module in model.named_modules()}
    running = [
        frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == "forward"
    ]
    inside = [module for module in running if paths.get(id(module))]
    return f"{paths[id(inside[-1])]} ({type(inside[-1]).__name__})" if inside else "the model itself"
