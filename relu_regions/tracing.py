"""Tracing a torch module with torch.export, once for each shape of its input."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from relu_regions.operations import UnsupportedOperation

__all__ = ["Trace", "traced"]


@dataclass(frozen=True)
class Trace:
    """A traced model: its graph, and the example it was traced with."""

    program: ExportedProgram
    example: Tensor

    @classmethod
    def of(cls, program: ExportedProgram) -> Trace:
        placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
        users = [node for node in placeholders if node.name in program.graph_signature.user_inputs]
        if len(users) != 1:
            raise UnsupportedOperation(f"The model takes {len(users)} inputs; relu_regions walks models of one input.")
        meta = users[0].meta["val"]
        if not isinstance(meta, Tensor) or not meta.dtype.is_floating_point:
            raise UnsupportedOperation("The model's input is no floating-point tensor.")
        if meta.ndim < 2 or not isinstance(meta.shape[0], torch.SymInt):
            raise ValueError(
                "The exported program has a fixed batch size; export it with a dynamic first dimension: "
                "torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('N')},))."
            )
        example = torch.randn(3, *map(int, meta.shape[1:]), generator=torch.Generator().manual_seed(0))
        if any(_mutates(node) for node in program.graph.nodes):
            # Rewritten without operations in place, which the reader would have to follow through every alias.
            program = program.run_decompositions({})
        return cls(program, example.to(meta.dtype))


def _mutates(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


_KEPT: weakref.WeakKeyDictionary[nn.Module, dict[Any, Trace]] = weakref.WeakKeyDictionary()


def traced(model: nn.Module, shape: tuple[int, ...], fresh: bool) -> Trace:
    """The trace of a model, kept until the module is gone or its structure changes."""
    first = next(model.parameters(), next(model.buffers(), torch.zeros(())))
    dtype = first.dtype if first.dtype.is_floating_point else torch.get_default_dtype()
    key = (shape, dtype, str(first.device), repr(model))
    kept = _KEPT.setdefault(model, {})
    if fresh or key not in kept:
        kept[key] = _trace(model, shape, dtype, first.device)
    return kept[key]


def _trace(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Trace:
    example = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    try:
        with torch.no_grad():
            program = torch.export.export(model, (example,), dynamic_shapes=({0: Dim("N")},))
    except UnsupportedOperation:
        raise
    except Exception as error:
        raise _explained(error, model, shape) from error
    return replace(Trace.of(program), example=example)


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
