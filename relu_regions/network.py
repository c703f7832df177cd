"""Reading a model: a torch module becomes a list of affine steps and gates over named values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from relu_regions.archive import module_from_pt2
from relu_regions.binding import Graph, bind, output_position
from relu_regions.chains import Chain, chains_of, products_of
from relu_regions.comparison import Original
from relu_regions.folding import folded
from relu_regions.limits import Limits
from relu_regions.steps import AffineStep, GateStep, Step, evaluate
from relu_regions.tracing import example_of, outputs_of, tensors_of, traced

__all__ = ["Network", "Reading", "read", "read_module", "read_program"]

T = TypeVar("T")


@dataclass(frozen=True)
class Network:
    """A continuous piecewise-linear network as the walk sees it.

    Attributes:
        steps: affine steps and gates, each after those it reads from.
        input_name: the value that the first steps read.
        output_name: the value that holds the logits.
        input_shape: shape of one input, without the batch dimension.
        output_shape: shape of one output; ``(classes,)`` for a classifier.
        input_dtype: what the model itself computes in.
    """

    steps: tuple[Step, ...]
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_dtype: torch.dtype = torch.float64

    @classmethod
    def from_module(cls, model: nn.Module, input_shape: Sequence[int], output: int | str | None = None) -> Network:
        """Read a torch module.

        The module is traced by torch.export. A trace is kept and used again for as long as running the module calls the
        same operations with the same numbers; weights are read anew at each call. The reading is compared with the
        module's own forward pass.

        Args:
            model: in eval mode; not modified.
            input_shape: shape of one input, without the batch dimension.
            output: which output to read, by position or key, where the model returns several.

        Raises:
            TypeError: model is no torch module.
            ValueError: the model is in training mode, or does not accept a batch of this shape.
            UnsupportedOperation: the model is not continuous and piecewise linear, or cannot be read.
        """
        return read_module(model, input_shape, output).network

    @classmethod
    def from_exported(
        cls,
        program: ExportedProgram | str | os.PathLike[str],
        output: int | str | None = None,
        *,
        limits: Limits | None = None,
    ) -> Network:
        """Read a torch.export program, live or from a ``.pt2`` file.

        Args:
            program: one with a single float input whose first dimension is a dynamic batch size.
            output: which output to read, by position or key, where the program returns several.
            limits: how much a file may ask for.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is no exported program, is damaged, asks for more than the limits allow, or the batch
                size is fixed.
            UnsupportedOperation: the program is not continuous and piecewise linear, or cannot be read.
        """
        if not isinstance(program, ExportedProgram):
            limits = limits or Limits()
            return module_from_pt2(program, output, limits).network(_network_of_traced, limits)
        return read_program(program, output).network

    @classmethod
    def from_onnx(
        cls, path: str | os.PathLike[str], output: str | None = None, *, limits: Limits | None = None
    ) -> Network:
        """Read an ONNX file (needs the extra ``relu-regions[onnx]``).

        The weights are those of the file, exactly. Where onnxruntime is installed, its answers on random inputs are
        compared with the network's.

        Args:
            path: of a file with one input, whose first axis is a batch of 1 or of any size.
            output: name of the output to read, where the file has several.
            limits: how much the file may ask for.

        Raises:
            ImportError: onnx or onnx2fx is not installed.
            FileNotFoundError: there is no such file.
            ValueError: the file is no ONNX model, asks for more than the limits allow, has several inputs or outputs, or
                its first axis is not a batch.
            UnsupportedOperation: the network is not continuous and piecewise linear, or cannot be read; the text
                names the node.
        """
        from relu_regions.onnx_reading import check_against_onnxruntime, module_from_onnx

        limits = limits or Limits()
        file, model = module_from_onnx(path, output, limits)
        return file.network(_network_of_traced, limits, lambda network: check_against_onnxruntime(network, model))

    @property
    def gates(self) -> tuple[GateStep, ...]:
        """The steps that bend, in order."""
        return tuple(step for step in self.steps if isinstance(step, GateStep))

    @property
    def units(self) -> int:
        """How many units can bend."""
        return sum(step.units for step in self.gates)

    @cached_property
    def gate_numbers(self) -> dict[int, int]:
        """The number of each gate among the gates, by its step's index."""
        indices = (index for index, step in enumerate(self.steps) if isinstance(step, GateStep))
        return {index: number for number, index in enumerate(indices)}

    @cached_property
    def products(self) -> dict[int, AffineStep]:
        """The matrices and convolutions that alone read the output of the gate before them, by the gate's index."""
        return products_of(self.steps, self.releases)

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Gates with knots and matrices one after another that nothing else goes around."""
        return chains_of(self.steps, self.input_name, self.releases)

    @property
    def folded(self) -> Network:
        """What the walk computes with: batch norms are part of the steps before them. Itself where there are none."""
        return self.derived("folded", self._with_folded_steps) or self

    def _with_folded_steps(self) -> Network | None:
        steps = folded(self.steps, self.releases)
        return None if len(steps) == len(self.steps) else replace(self, steps=steps)

    @cached_property
    def gains(self) -> dict[str, float]:
        """For each affine step the largest Σ |a| over its output numbers, by the output's name."""
        shapes = {step.output: step.shape for step in self.steps} | {self.input_name: self.input_shape}
        return {
            s.output: _gain(s, [shapes[name] for name in s.inputs]) for s in self.steps if isinstance(s, AffineStep)
        }

    def __call__(self, x: Tensor) -> Tensor:
        """The network's own forward pass: ``(N, *input_shape)`` to ``(N, *output_shape)``, in x's dtype."""
        values = {self.input_name: x}
        for step, last_use in zip(self.steps, self.releases):
            values[step.output] = evaluate(step, [values[name] for name in step.inputs])
            for name in last_use:
                del values[name]
        return values[self.output_name]

    @cached_property
    def releases(self) -> list[tuple[str, ...]]:
        """For each step, the values that no later step needs."""
        seen = {self.output_name}
        result: list[tuple[str, ...]] = []
        for step in reversed(self.steps):
            result.append(tuple(name for name in dict.fromkeys(step.inputs) if name not in seen))
            seen.update(step.inputs)
        return result[::-1]

    def to(self, dtype: torch.dtype, device: torch.device | str) -> Network:
        """The same network with its numbers in another dtype or on another device, made once; itself where they are so already."""
        other = self.derived(("to", dtype, torch.device(device)), lambda: self._other(dtype, torch.device(device)))
        return other or self

    def _other(self, dtype: torch.dtype, device: torch.device) -> Network | None:
        steps = tuple(step.to(dtype, device) for step in self.steps)
        # A network that held itself would not be freed at once.
        return None if all(one is other for one, other in zip(steps, self.steps)) else replace(self, steps=steps)

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """What follows from this network under a name, made once; it must not hold the network itself."""
        held = self._derived
        if key not in held:
            held[key] = make()
        return cast(T, held[key])

    @cached_property
    def _derived(self) -> dict[Hashable, object]:
        return {}

    def describe(self) -> str:
        """A table of the steps: what each does, the shape it makes, the units that bend, and its module."""
        rows = [("step", "operation", "shape", "units", "module")]
        for index, step in enumerate(self.steps):
            units = f"{step.units:,}" if isinstance(step, GateStep) else ""
            shape = "x".join(map(str, step.shape)) or "1"
            rows.append((str(index), step.origin.operation, shape, units, step.origin.module or "(model)"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        inputs, outputs = ("x".join(map(str, shape)) or "1" for shape in (self.input_shape, self.output_shape))
        return "\n".join([f"{inputs} -> {outputs}, {self.units:,} units that bend in {len(self.gates)} gates", *lines])


# ---------------------------------------------------------------- reading


class Reading(NamedTuple):
    """A network, and the model that it was read from; None where a network was given."""

    network: Network
    original: Original | None


def read(
    model: nn.Module | Network | ExportedProgram, input_shape: Sequence[int], rows: Tensor | None = None
) -> Reading:
    """The network that a public function was given, in whichever form.

    Args:
        model: as given.
        input_shape: shape of one input, without the batch dimension.
        rows: two points that the caller asks about, ``(2, *input_shape)``, at which a module is run and compared.

    Raises:
        TypeError, ValueError, UnsupportedOperation: as :meth:`Network.from_module`.
    """
    if not isinstance(model, (Network, ExportedProgram)):
        return read_module(model, input_shape, None, rows)
    reading = Reading(model, None) if isinstance(model, Network) else read_program(model, None)
    if tuple(input_shape) != reading.network.input_shape:
        raise ValueError(
            f"x has inputs of shape {tuple(input_shape)}, but the network was read for {reading.network.input_shape}; "
            "give x as (N, *input_shape), or read the model for this shape."
        )
    return reading


def _network_of_traced(model: nn.Module, program: ExportedProgram) -> Network:
    return read_module(model, Graph.as_traced(program).input.meta["val"].shape[1:], program=program).network


def read_module(
    model: nn.Module,
    input_shape: Sequence[int],
    output: int | str | None = None,
    rows: Tensor | None = None,
    program: ExportedProgram | None = None,
) -> Reading:
    """A module's network, compared with the module; errors as :meth:`Network.from_module`.

    Args:
        program: the module as torch.export has just traced it, if it has.
    """
    _check_module(model)
    example = example_of(model, tuple(int(size) for size in input_shape))
    own = None if rows is None else rows.to(example)
    trace = traced(model, own if own is not None and torch.isfinite(own).all() else example[:2], program)
    network = _bound(trace.graph, tensors_of(model), output)

    def forward(x: Tensor) -> Tensor:
        return _chosen(outputs_of(model, x), output)

    original = Original(network, forward, example.dtype, example.device, trace.graph.narrowest)
    original.compare(trace.rows, _chosen(trace.outputs, output))
    if trace.fresh:
        original.check(example)
    return Reading(network, original)


def read_program(program: ExportedProgram, output: int | str | None = None) -> Reading:
    """A program's network, compared with the program; errors as :meth:`Network.from_exported`."""
    graph = Graph.of(program)
    network = _bound(graph, program.state_dict, output)
    position = output_position(graph, output)

    def forward(x: Tensor) -> Tensor:
        with torch.no_grad():
            chosen: Tensor = graph.run(x, program.state_dict)[position]
        return chosen

    device = next((tensor.device for tensor in program.state_dict.values()), torch.device("cpu"))
    original = Original(network, forward, network.input_dtype, device, graph.narrowest)
    original.check(torch.randn(3, *network.input_shape, generator=torch.Generator().manual_seed(0)), alone=True)
    return Reading(network, original)


def _bound(graph: Graph, tensors: Mapping[str, Tensor], output: int | str | None) -> Network:
    found = bind(graph, tensors, output)
    return Network(found.steps, found.input.name, found.output.name, found.input.shape, found.output.shape, found.dtype)


def _gain(step: AffineStep, shapes: list[tuple[int, ...]]) -> float:
    if step.shape.count(0):
        return 0.0
    if step.is_matrix and step.constants[0].numel():
        return float(torch.linalg.matrix_norm(step.constants[0], math.inf))
    like = step.constants[0] if step.constants else torch.zeros(0, dtype=torch.float64)
    return float(step.magnitude(*(like.new_ones(1, *shape) for shape in shapes)).max())


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or a relu_regions.Network, not {type(model).__name__}.")
    training = [name or "the model itself" for name, module in model.named_modules() if module.training]
    if training:
        more = f" and {len(training) - 1} more modules" if len(training) > 1 else ""
        raise ValueError(f"The model is in training mode ({training[0]}{more}); call model.eval() first.")


def _chosen(outputs: Any, output: int | str | None) -> Tensor:
    """One of a model's outputs, counted as torch.export counts them."""
    leaves = tree_leaves(outputs)
    if isinstance(output, str):
        return cast(Tensor, leaves[list(map(str, outputs)).index(output)])
    return cast(Tensor, leaves[output or 0])
