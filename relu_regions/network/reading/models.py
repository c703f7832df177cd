"""Reading live models: a torch module or a torch.export program becomes steps, and is compared with itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_flatten, tree_leaves

from relu_regions.network.reading.binding import bind
from relu_regions.network.reading.kept_traces import traced
from relu_regions.network.reading.last_operations import LOGITS
from relu_regions.network.reading.outputs import output_names
from relu_regions.network.reading.traced_graph import TracedGraph
from relu_regions.network.reading.tracing import example_of, outputs_of, recorded, tensors_of
from relu_regions.network.reading.verify import Original
from relu_regions.network.reading.wrappers import Fixed, Inside, is_graph, unwrapped
from relu_regions.network.step_graph import StepGraph

__all__ = ["Reading", "read_module", "read_program", "read_traced"]


class Reading(NamedTuple):
    """A network, and the model that it was read from."""

    network: StepGraph
    original: Original


def read_traced(model: nn.Module, program: ExportedProgram, output: int | str | None = None) -> Reading:
    """The network of a module that torch.export has just traced; errors as ``read_module``."""
    return read_module(model, TracedGraph.as_traced(program).input.meta["val"].shape[1:], output, program=program)


def read_module(
    model: nn.Module,
    input_shape: Sequence[int],
    output: int | str | None = None,
    rows: Tensor | None = None,
    program: ExportedProgram | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Reading:
    """A module's network, compared with the module; errors as ``relu_regions.Network.from_module``.

    Args:
        program: the module as torch.export has just traced it, if it has.
        fixed: all inputs but one, by name.
    """
    model = _checked(model, fixed)
    example = example_of(model, tuple(int(size) for size in input_shape))
    if isinstance(output, str) and (path := _path_inside(model, output, example)) is not None:
        model, output = Inside(model, path), None
    own = None if rows is None else rows.to(example)
    trace = traced(model, own if own is not None and torch.isfinite(own).all() else example[:2], program)
    network, last = _bound(trace.graph, tensors_of(model), output)
    position = trace.graph.output_position(output)

    def forward(x: Tensor) -> Tensor:
        return _chosen(outputs_of(model, x), position)

    original = Original(network, forward, example.dtype, example.device, trace.graph.narrowest, last)
    original.compare(trace.rows, _chosen(trace.outputs, position))
    if trace.fresh:
        original.check(example)
    return Reading(network, original)


def read_program(program: ExportedProgram, output: int | str | None = None) -> Reading:
    """A program's network, compared with the program; errors as ``relu_regions.Network.from_exported``."""
    graph = TracedGraph.of(program).with_branches(program.state_dict)
    network, last = _bound(graph, program.state_dict, output)
    position = graph.output_position(output)

    def forward(x: Tensor) -> Tensor:
        with torch.no_grad():
            chosen: Tensor = graph.run(x, program.state_dict)[position]
        return chosen

    device = next((tensor.device for tensor in program.state_dict.values()), torch.device("cpu"))
    original = Original(network, forward, network.input_dtype, device, graph.narrowest, last)
    original.check(torch.randn(3, *network.input_shape, generator=torch.Generator().manual_seed(0)), alone=True)
    return Reading(network, original)


def _bound(
    graph: TracedGraph, tensors: Mapping[str, Tensor], output: int | str | None
) -> tuple[StepGraph, Callable[[Tensor], Tensor] | None]:
    """The network, and what the model does after it where its logits were asked for."""
    found = bind(graph, tensors, output)
    shapes = found.input.shape, found.output.shape
    return StepGraph(found.steps, found.input.name, found.output.name, *shapes, found.dtype), found.last


def _checked(model: object, fixed: Mapping[str, Any] | None) -> nn.Module:
    """The module that is meant, in eval mode, with one input."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or a relu_regions.Network, not {type(model).__name__}.")
    model = unwrapped(model)
    for name, tensor in tensors_of(model).items():
        if tensor.is_meta or tensor.layout != torch.strided:
            what = "is on the meta device and has no numbers" if tensor.is_meta else "is sparse"
            instead = "load the weights" if tensor.is_meta else "make it dense with to_dense()"
            raise ValueError(f"The model's tensor {name!r} {what}; {instead} before the model is read.")
    modules = () if is_graph(model) else model.named_modules()
    training = [name or "the model itself" for name, module in modules if module.training]
    if training:
        more = f" and {len(training) - 1} more modules" if len(training) > 1 else ""
        raise ValueError(f"The model is in training mode ({training[0]}{more}); call model.eval() first.")
    return Fixed(model, fixed) if fixed else model


def _path_inside(model: nn.Module, output: str, rows: Tensor) -> str | None:
    """The path of the module inside of the model that a name is of; None if it is of none, or of an output too."""
    path = f"model.{output}" if isinstance(model, Fixed) else output
    if not output or output == LOGITS or path not in dict(model.named_modules()):
        return None
    names = output_names(tree_flatten(recorded(model, rows, tensors_of(model)).outputs)[1])
    return None if output in names else path


def _chosen(outputs: Any, position: int) -> Tensor:
    """One of a model's outputs, counted as torch.export counts them."""
    return cast(Tensor, tree_leaves(outputs)[position])
