"""Reading a model: a torch module becomes a list of affine steps and gates over named values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from relu_regions.archive import module_from_pt2
from relu_regions.binding import bind
from relu_regions.chains import Chain, chains_of, products_of
from relu_regions.folding import folded
from relu_regions.gates import rows
from relu_regions.limits import Limits
from relu_regions.operations import UnsupportedOperation
from relu_regions.steps import AffineStep, GateStep, Step
from relu_regions.tracing import Trace, traced

__all__ = ["Network", "as_network"]

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

        The module is traced by torch.export once for each input shape and kept until the module is gone; its
        weights are read anew at each call. The reading is compared with the module's own forward pass.

        Args:
            model: in eval mode; not modified.
            input_shape: shape of one input, without the batch dimension.
            output: which output to read, by position or key, where the model returns several.

        Raises:
            TypeError: model is no torch module.
            ValueError: the model is in training mode, or does not accept a batch of this shape.
            UnsupportedOperation: the model is not continuous and piecewise linear, or cannot be read.
        """
        _check_module(model)
        shape = tuple(int(size) for size in input_shape)
        for fresh in (False, True):
            trace = traced(model, shape, fresh)
            network = cls._bound(
                trace.program,
                dict(model.named_parameters(remove_duplicate=False)),
                dict(model.named_buffers(remove_duplicate=False)),
                output,
            )
            difference = _difference_from(network, model, trace.example, output)
            if difference is None:
                return network
        raise UnsupportedOperation(
            f"The network as read differs from the model's own forward pass by {difference:.3g} on random inputs. "
            "Its forward pass may depend on the batch, on global state or on chance; relu_regions cannot walk it."
        )

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
            return module_from_pt2(program, output, limits).network(cls.from_module, limits)
        weights = {**program.state_dict}
        return cls._bound(Trace.of(program).program, weights, weights, output)

    @classmethod
    def _bound(
        cls, program: ExportedProgram, parameters: dict[str, Any], buffers: dict[str, Any], output: int | str | None
    ) -> Network:
        found = bind(program, parameters, buffers, output)
        return cls(found.steps, found.input.name, found.output.name, found.input.shape, found.output.shape, found.dtype)

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
        return file.network(cls.from_module, limits, lambda network: check_against_onnxruntime(network, model))

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
            values[step.output] = _evaluate(step, [values[name] for name in step.inputs])
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


def as_network(model: nn.Module | Network | ExportedProgram, input_shape: Sequence[int]) -> Network:
    """The network that a public function was given, in whichever form.

    Raises:
        TypeError, ValueError, UnsupportedOperation: as :meth:`Network.from_module`.
    """
    if isinstance(model, ExportedProgram):
        model = Network.from_exported(model)
    if isinstance(model, Network):
        if tuple(input_shape) != model.input_shape:
            raise ValueError(
                f"x has inputs of shape {tuple(input_shape)}, but the network was read for {model.input_shape}; "
                "give x as (N, *input_shape), or read the model for this shape."
            )
        return model
    return Network.from_module(model, input_shape)


def _evaluate(step: Step, values: list[Tensor]) -> Tensor:
    if isinstance(step, AffineStep):
        return step(*values)
    return step.gate.apply(rows(values[0])).view(len(values[0]), *step.shape)


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


# ---------------------------------------------------------------- checking the reading


def _difference_from(network: Network, model: nn.Module, example: Tensor, output: int | str | None) -> float | None:
    """How far the reading is from the model's own forward pass; None where they agree to the model's rounding.

    Each row goes through the reading alone, so that a model whose answer for a row depends on the rest of its
    batch is found out too.
    """
    with torch.no_grad():
        theirs = _chosen(model(example), output).to(torch.float64)
        network = network.to(torch.float64, example.device)
        ours = torch.cat([network(row[None].to(torch.float64)) for row in example])
    if theirs.shape != ours.shape:
        return math.inf
    allowed = _FORWARD_ROUNDING[example.dtype] * max(1.0, float(theirs.abs().max()), float(ours.abs().max()))
    difference = float((theirs - ours).abs().max())
    return None if difference <= allowed else difference


# How far the rounding of a deep model's own forward pass can be from the real network, relative to its outputs.
_FORWARD_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-2, torch.float16: 0.5, torch.bfloat16: 0.5}


def _chosen(outputs: Any, output: int | str | None) -> Tensor:
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, dict):
        outputs = outputs if isinstance(output, str) else list(outputs.values())
    chosen: Tensor = outputs[output if output is not None else 0]
    return chosen
