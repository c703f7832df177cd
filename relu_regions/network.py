"""Reading a model: a torch module becomes a list of affine steps and gates over named values."""

from __future__ import annotations

import math
import operator
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from relu_regions.archive import load_program
from relu_regions.gates import rows
from relu_regions.operations import BATCH, OPERATIONS, REFUSED, Call, UnsupportedOperation, Value
from relu_regions.steps import AffineStep, GateStep, Origin, Step

__all__ = ["Network", "as_network"]


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
            trace = _traced(model, shape, fresh)
            network = _bind(
                trace,
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
        cls, program: ExportedProgram | str | os.PathLike[str], output: int | str | None = None
    ) -> Network:
        """Read a torch.export program, live or from a ``.pt2`` file.

        Args:
            program: one with a single float input whose first dimension is a dynamic batch size.
            output: which output to read, by position or key, where the program returns several.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is no exported program or holds what could run code, or the batch size is fixed.
            UnsupportedOperation: the program is not continuous and piecewise linear, or cannot be read.
        """
        if not isinstance(program, ExportedProgram):
            program = load_program(program)
        trace = _Trace.of(program)
        return _bind(trace, {**program.state_dict}, {**program.state_dict}, output)

    @classmethod
    def from_onnx(cls, path: str | os.PathLike[str], output: str | None = None) -> Network:
        """Read an ONNX file (needs the extra ``relu-regions[onnx]``).

        The weights are those of the file, exactly. Where onnxruntime is installed, its answers on random inputs are
        compared with the network's.

        Args:
            path: of a file with one input, whose first axis is a batch of 1 or of any size.
            output: name of the output to read, where the file has several.

        Raises:
            ImportError: onnx or onnx2fx is not installed.
            FileNotFoundError: there is no such file.
            ValueError: the file is no ONNX model, has several inputs or outputs, or its first axis is not a batch.
            UnsupportedOperation: the network is not continuous and piecewise linear, or cannot be read; the text
                names the node.
        """
        from relu_regions.onnx_reading import check_against_onnxruntime, module_from_onnx

        model, input_shape = module_from_onnx(path, output)
        network = cls.from_module(model, input_shape)
        if find_spec("onnxruntime") is not None:
            check_against_onnxruntime(network, path, output)
        return network

    @property
    def gates(self) -> tuple[GateStep, ...]:
        """The steps that bend, in order."""
        return tuple(step for step in self.steps if isinstance(step, GateStep))

    @property
    def units(self) -> int:
        """How many units can bend."""
        return sum(step.units for step in self.gates)

    def __call__(self, x: Tensor) -> Tensor:
        """The network's own forward pass: ``(N, *input_shape)`` to ``(N, *output_shape)``, in x's dtype."""
        values = {self.input_name: x}
        for step, last_use in zip(self.steps, self.releases()):
            values[step.output] = _evaluate(step, [values[name] for name in step.inputs])
            for name in last_use:
                del values[name]
        return values[self.output_name]

    def releases(self) -> list[tuple[str, ...]]:
        """For each step, the values that no later step needs."""
        seen = {self.output_name}
        result: list[tuple[str, ...]] = []
        for step in reversed(self.steps):
            result.append(tuple(name for name in dict.fromkeys(step.inputs) if name not in seen))
            seen.update(step.inputs)
        return result[::-1]

    def to(self, dtype: torch.dtype, device: torch.device | str) -> Network:
        """The same network with its numbers in another dtype or on another device."""
        return replace(self, steps=tuple(step.to(dtype, torch.device(device)) for step in self.steps))

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


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or a relu_regions.Network, not {type(model).__name__}.")
    training = [name or "the model itself" for name, module in model.named_modules() if module.training]
    if training:
        more = f" and {len(training) - 1} more modules" if len(training) > 1 else ""
        raise ValueError(f"The model is in training mode ({training[0]}{more}); call model.eval() first.")


# ---------------------------------------------------------------- tracing


@dataclass(frozen=True)
class _Trace:
    """A traced model: its graph, and the example it was traced with."""

    program: ExportedProgram
    example: Tensor

    @classmethod
    def of(cls, program: ExportedProgram) -> _Trace:
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


_TRACES: weakref.WeakKeyDictionary[nn.Module, dict[Any, _Trace]] = weakref.WeakKeyDictionary()


def _traced(model: nn.Module, shape: tuple[int, ...], fresh: bool) -> _Trace:
    """The trace of a model, kept until the module is gone or its structure changes."""
    first = next(model.parameters(), next(model.buffers(), torch.zeros(())))
    dtype = first.dtype if first.dtype.is_floating_point else torch.get_default_dtype()
    key = (shape, dtype, str(first.device), repr(model))
    kept = _TRACES.setdefault(model, {})
    if fresh or key not in kept:
        kept[key] = _trace(model, shape, dtype, first.device)
    return kept[key]


def _trace(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> _Trace:
    example = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    try:
        with torch.no_grad():
            program = torch.export.export(model, (example,), dynamic_shapes=({0: Dim("N")},))
    except UnsupportedOperation:
        raise
    except Exception as error:
        raise _explained(error, shape) from error
    return replace(_Trace.of(program), example=example)


def _explained(error: Exception, shape: tuple[int, ...]) -> Exception:
    name, reason = type(error).__name__, str(error).strip().split("\n")[0]
    if "DataDependent" in name or "data-dependent" in reason.lower():
        return UnsupportedOperation(
            f"The model's control flow depends on its data ({reason}); such a model is not continuous and piecewise linear."
        )
    return ValueError(
        f"torch.export could not trace the model on a batch of inputs of shape {shape} ({name}: {reason}). "
        "Check that x has the shape the model takes, batch first, and that the model works for any batch size."
    )


# ---------------------------------------------------------------- binding weights


def _bind(trace: _Trace, parameters: dict[str, Any], buffers: dict[str, Any], output: int | str | None) -> Network:
    """The steps of a traced model with the weights that the model has now, in float64."""
    with torch.no_grad():
        return _Binder(trace.program, parameters, buffers).network(output)


class _Binder:
    """Goes through the graph once, folding constants and turning every other node into steps."""

    def __init__(self, program: ExportedProgram, parameters: dict[str, Any], buffers: dict[str, Any]) -> None:
        self.program = program
        self.parameters, self.buffers = parameters, buffers
        self.environment: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.steps: list[Step] = []

    def network(self, output: int | str | None) -> Network:
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.environment[node.name] = self._placeholder(node)
            elif node.op == "call_function" and node.users:
                self.environment[node.name] = self._call(node)
            elif node.op == "output":
                chosen = self._output(node, output)
        inputs = self.program.graph_signature.user_inputs[0]
        given = self.environment[str(inputs)]
        meta = next(node.meta["val"] for node in self.program.graph.nodes if node.name == inputs)
        steps = tuple(_needed(self.steps, chosen.name))
        return Network(steps, given.name, chosen.name, given.shape, chosen.shape, meta.dtype)

    def _placeholder(self, node: Any) -> Any:
        signature = self.program.graph_signature
        if node.name in signature.inputs_to_parameters:
            name = signature.inputs_to_parameters[node.name]
            return _as_float64(self.parameters.get(name, self.program.state_dict.get(name)))
        if node.name in signature.inputs_to_buffers:
            name = signature.inputs_to_buffers[node.name]
            constants = self.program.constants.get(name)
            return _as_float64(self.buffers.get(name, self.program.state_dict.get(name, constants)))
        if node.name in signature.inputs_to_lifted_tensor_constants:
            return _as_float64(self.program.constants[signature.inputs_to_lifted_tensor_constants[node.name]])
        return Value(node.name, tuple(map(int, node.meta["val"].shape[1:])))

    def _call(self, node: Any) -> Any:
        arguments = self._resolve(node.args)
        keywords = {keyword: self._resolve(argument) for keyword, argument in node.kwargs.items()}
        depends = _contains_value(arguments) or _contains_value(list(keywords.values()))
        if not depends:
            return self._fold(node, arguments, keywords)
        if node.target is operator.getitem:
            return self._item(node, arguments)
        if "sym_size" in str(node.target):
            return self._size(arguments)
        call = self._describe(node, arguments, keywords)
        if isinstance(node.meta.get("val"), (tuple, list)):
            return call  # several outputs: each getitem makes its own step
        return self._emit(call, node.meta["val"])

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            return self.environment[argument.name]
        if isinstance(argument, (list, tuple)):
            return [self._resolve(item) for item in argument]
        return argument

    def _fold(self, node: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
        """A node that does not depend on the input is computed once, in float64 and for a batch of one."""
        if _contains_batch(arguments) or _contains_batch(list(keywords.values())):
            if "val" in node.meta and not isinstance(node.meta["val"], Tensor):
                return BATCH if node.target is not operator.eq else True
            arguments, keywords = (
                _without_batch(arguments),
                {k: _without_batch(v) for k, v in keywords.items()},
            )
        if isinstance(keywords.get("dtype"), torch.dtype) and keywords["dtype"].is_floating_point:
            keywords["dtype"] = torch.float64
        result = node.target(*arguments, **keywords)
        return _as_float64(result) if isinstance(result, Tensor) else result

    def _size(self, arguments: list[Any]) -> Any:
        value, dimension = arguments[:2]
        return BATCH if dimension == 0 else value.shape[dimension - 1 if dimension > 0 else dimension]

    def _item(self, node: Any, arguments: list[Any]) -> Any:
        call, index = arguments[:2]
        if not isinstance(call, Call):
            raise UnsupportedOperation(f"Cannot read item {index} of {call!r}.")
        operation = call.origin.operation
        if operation in ("split", "split_with_sizes", "chunk", "unbind", "tensor_split"):
            several = call.target
            part = replace(call, name=node.name, target=lambda *args, **kwargs: several(*args, **kwargs)[index])
            return self._emit(part, node.meta["val"])
        if index != 0:
            raise call.refuse("its second output (positions, not numbers) is not continuous in the input")
        return self._emit(replace(call, name=node.name), node.meta["val"])

    def _describe(self, node: Any, arguments: list[Any], keywords: dict[str, Any]) -> Call:
        operation = getattr(node.target, "_schema", None)
        name = (
            operation.name.split("::")[-1]
            if operation is not None
            else getattr(node.target, "__name__", str(node.target))
        )
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        module = str(stack[-1][0]) if stack else ""
        return Call(node.name, Origin(module, name), node.target, tuple(arguments), keywords, ())

    def _emit(self, call: Call, meta: Tensor) -> Value:
        operation = call.origin.operation
        handler = OPERATIONS.get(operation) or REFUSED.get(operation)
        if handler is None:
            raise call.refuse("the operation is not known to be affine or piecewise linear")
        if handler not in REFUSED.values():
            call.shape = _point_shape(call, meta)
        self.steps.extend(handler(call))
        return Value(call.name, call.shape)

    def _output(self, node: Any, output: int | str | None) -> Value:
        outputs = self._resolve(node.args[0])
        specs = self.program.graph_signature.user_outputs
        outputs = outputs[len(outputs) - len(specs) :]
        if len(outputs) > 1 or output is not None:
            outputs = [outputs[self._position(output, len(outputs))]]
        chosen = outputs[0]
        if not isinstance(chosen, Value):
            raise UnsupportedOperation("The model's output does not depend on its input.")
        return chosen

    def _position(self, output: int | str | None, count: int) -> int:
        spec = self.program.call_spec.out_spec
        keys = [str(key) for key in (spec.context or [])] if spec is not None and spec.type is dict else []
        if isinstance(output, str) and output in keys:
            return keys.index(output)
        if isinstance(output, int) and -count <= output < count:
            return output
        names = f"keys {keys}" if keys else f"positions 0 to {count - 1}"
        raise ValueError(
            f"The model returns {count} outputs ({names}), and output={output!r} does not name one of them."
        )


def _needed(steps: list[Step], output: str) -> Iterator[Step]:
    """The steps that the output depends on, in order."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.output in wanted:
            wanted.update(step.inputs)
            kept.append(step)
    return reversed(kept)


def _point_shape(call: Call, meta: Tensor) -> tuple[int, ...]:
    batch, *rest = meta.shape if meta.ndim else [None]
    if not isinstance(batch, torch.SymInt) or not all(isinstance(size, int) for size in rest):
        raise call.refuse(f"its output of shape {tuple(meta.shape)} does not keep the batch dimension in front")
    if str(batch) != str(_input_batch(call, batch)):
        raise call.refuse(f"it folds other dimensions into the batch ({batch} rows)")
    return tuple(rest)


def _input_batch(call: Call, batch: torch.SymInt) -> torch.SymInt | str:
    symbols = batch.node.expr.free_symbols
    return next(iter(symbols)) if len(symbols) == 1 else batch


def _contains_value(argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return any(_contains_value(item) for item in argument)
    return isinstance(argument, (Value, Call))


def _contains_batch(argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return any(_contains_batch(item) for item in argument)
    return argument is BATCH


def _without_batch(argument: Any) -> Any:
    if isinstance(argument, (list, tuple)):
        return [_without_batch(item) for item in argument]
    return 1 if argument is BATCH else argument


def _as_float64(tensor: Tensor) -> Tensor:
    """A constant in the precision of the walk: exact for every narrower float, and detached from the model."""
    tensor = tensor.detach()
    if not tensor.dtype.is_floating_point:
        return tensor
    if not torch.isfinite(tensor).all():
        raise ValueError("The model's weights contain NaN or infinity; nothing can be computed from them.")
    return tensor.to(torch.float64, copy=True)


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
