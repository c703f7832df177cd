"""One run of a module, and its program by torch.export, with what torch keeps in globals under a lock."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature
from traceback import walk_tb
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.reading.recording import Recording, record

__all__ = ["LOCK", "example_of", "exported", "outputs_of", "recorded", "tensors_of"]

# torch.export swaps the parameters of the module that it traces, and keeps its state in globals.
LOCK = threading.RLock()


def exported(model: nn.Module, shape: tuple[int, ...]) -> ExportedProgram:
    """A module as torch.export traces it, which computes shapes only; no number of it is touched.

    Raises:
        ValueError: the module does not take a batch of inputs of that shape.
        UnsupportedOperation: its control flow depends on data.
    """
    example = example_of(model, shape)
    with LOCK, torch.no_grad(), torch.autocast(example.device.type, enabled=False), _interrupts_held_back():
        try:
            return torch.export.export(model, (example,), dynamic_shapes=_dynamic_shapes(model))
        except UnsupportedOperation:
            raise
        except Exception as error:
            raise _explained(error, model, shape) from None  # which was no error of the model's own when it ran


def _dynamic_shapes(model: nn.Module) -> tuple[Any, ...]:
    """What torch.export is told of a forward's arguments: the first axis of the one that is given is the batch."""
    first = next(iter(signature(model.forward).parameters.values()), None)
    rows = ({0: Dim("N")},)
    return (rows,) if first is not None and first.kind is Parameter.VAR_POSITIONAL else rows


def outputs_of(model: nn.Module, x: Tensor) -> Any:
    """What a module returns for rows, as it is; no other thread's reading changes it meanwhile.

    It runs eagerly: torch.cond would compile its branches anew for each call's lambdas, which takes seconds.
    """
    eagerly = torch.compiler.set_stance("force_eager")
    with LOCK, torch.no_grad(), torch.autocast(x.device.type, enabled=False), eagerly:
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


def recorded(model: nn.Module, rows: Tensor, tensors: Mapping[str, Tensor]) -> Recording:
    """What a module calls on rows, and returns.

    Raises:
        ValueError: the module does not take such rows.
        UnsupportedOperation: it draws random numbers, writes to a tensor that outlives the run, or depends on data.
    """
    try:
        return record(model, rows.clone(), tensors)
    except UnsupportedOperation as error:
        raise UnsupportedOperation(f"Cannot read {_where(error, model)}. {error}") from None
    except Exception as error:
        explained = _explained(error, model, tuple(rows.shape[1:]))
        raise explained from None if isinstance(explained, UnsupportedOperation) else error


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
    """What to say of an error that a run or a trace of the model ended in."""
    name, reason = type(error).__name__, _shortened(str(error))
    where = _where(error, model)
    if "DataDependent" in name or "data-dependent" in reason.lower():
        return UnsupportedOperation(
            f"The control flow of {where} depends on the model's data; such a model is not continuous and piecewise "
            "linear."
        )
    if (block := re.search(r"HigherOrderOperator (\w+)", str(error))) is not None:
        return UnsupportedOperation(
            f"Cannot read torch.{block[1]} in {where}: it chooses or repeats a block of the model as it runs. Write "
            "the block that is meant, or a branch of Python on a number that is no tensor."
        )
    if (kind := re.search(r"Found <class '([\w.<>]+)'> in output", str(error))) is not None:
        return UnsupportedOperation(
            f"The model returns a {kind[1].rpartition('.')[2]}, in which torch sees no tensors. Register the class "
            "with torch.export.register_dataclass, or return its tensors in a tuple or a dict."
        )
    if scripted := [path for path, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)]:
        return ValueError(
            f"The model's module {scripted[0]!r} is scripted by torch.jit, which torch.export does not trace "
            f"({name}: {reason}). Put the module that it was made from in its place, with its weights: "
            "original.load_state_dict(scripted.state_dict())."
        )
    if "per channel when training" in reason:
        return UnsupportedOperation(
            f"Cannot read the norm in {where}: it has no running statistics, so a point's answer depends on the others "
            "in its batch. Use track_running_stats=True and train, so that it has some."
        )
    return ValueError(
        f"The model does not take a batch of inputs of shape {shape}, in {where} ({name}: {reason}). Check that x has "
        "the shape that the model takes, batch first (x[None] for a single input), and that the model works for any "
        "batch size."
    )


def _shortened(text: str) -> str:
    line = (text.strip().split("\n") or [""])[0]
    return line if len(line) <= 200 else f"{line[:200]}…"


def _where(error: Exception, model: nn.Module) -> str:
    """The innermost module whose forward pass an error came out of, by its path in the model."""
    paths = {id(module): path for path, module in model.named_modules()}
    running = [
        frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == "forward"
    ]
    inside = [module for module in running if paths.get(id(module))]
    return f"{paths[id(inside[-1])]} ({type(inside[-1]).__name__})" if inside else "the model itself"
