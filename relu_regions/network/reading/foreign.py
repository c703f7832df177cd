"""Modules made from files of strangers: counted names inside, the file's own names in messages, errors at one door."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._pytree import tree_leaves

from relu_regions.network.reading.last_operations import LOGITS
from relu_regions.network.reading.limits import Limits
from relu_regions.network.reading.models import Reading
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.reading.operations.constants import operation_name
from relu_regions.network.reading.tracing import exported
from relu_regions.network.step_graph import StepGraph

__all__ = ["Asked", "FileModule", "FileNode", "Label", "at_the_door", "shown"]


class Label(NamedTuple):
    """What a node is called in its file: the path of its module or its own name, and the class of the module."""

    name: str
    kind: str


class FileNode(nn.Module):
    """One operation of a file, as a submodule with a counted name that messages translate to the file's own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the operation does.

        Raises:
            UnsupportedOperation: two sizes of its result depend on the batch, or one in an involved way. What is
                computed from such sizes can grow with every step, and no network that can be walked has them.
        """
        result = self.function(*args, **kwargs)
        for value in result if isinstance(result, (list, tuple)) else (result,):
            sizes = value.shape if isinstance(value, Tensor) else (value,)
            free = [str(size) for size in sizes if isinstance(size, torch.SymInt)]
            if len(free) > 1 or any(len(size) > _LONGEST_SIZE for size in free):
                raise UnsupportedOperation(
                    f"sizes of a result depend on the batch as {shown(', '.join(free))}; relu_regions walks networks "
                    "that treat the members of a batch apart."
                )
        return result


_LONGEST_SIZE = 60  # of the expression of a size that depends on the batch; that of a batch is one symbol


@dataclass(frozen=True)
class Asked:
    """What a caller says of a file.

    Attributes:
        output: name of an output or of any value, a position among the outputs, or None where there is one.
        fixed: all inputs but one, by name.
        input_shape: of one point, where the file leaves it open.
    """

    output: int | str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class FileModule:
    """A module that does what a file describes.

    Attributes:
        path: of the file.
        module: in eval mode; its submodules are named by count.
        input_shape: of one input, without the batch.
        labels: the names in the file, by the counted name.
        logits: whether what is before a softmax at the end is meant.
    """

    path: str | os.PathLike[str]
    module: nn.Module
    input_shape: tuple[int, ...]
    labels: Mapping[str, Label] = field(default_factory=dict)
    logits: bool = False

    def network(
        self,
        read: Callable[[nn.Module, ExportedProgram, str | None], Reading],
        limits: Limits,
        check: Callable[[Reading], None] = lambda reading: None,
    ) -> StepGraph:
        """The network that the module is, with the file's names in its steps.

        Args:
            read: makes a network of a module, its trace and its output, and compares it with the module.
            limits: for the sizes of the network's values, which are known before any is computed.
            check: what else must hold of it.

        Raises:
            ValueError, UnsupportedOperation: as ``read`` and ``check``, with the file's path and names in the text.
        """
        with at_the_door(self.path, self.labels):
            limits.check_value("the input", prod(self.input_shape))
            program = exported(self.module, self.input_shape)
            _check_sizes(program, limits)
            reading = read(self.module, program, LOGITS if self.logits else None)
            limits.check_nodes(len(reading.network.steps))
            check(reading)
        network: StepGraph = reading.network
        steps = []
        for step in network.steps:
            label = self.labels.get(step.origin.module, Label(step.origin.module, step.origin.kind))
            steps.append(replace(step, origin=replace(step.origin, module=label.name, kind=label.kind)))
        return replace(network, steps=tuple(steps))


def _check_sizes(program: ExportedProgram, limits: Limits) -> None:
    """Refuse values and constants that are too large, from the shapes in a trace, and traces that are too long."""
    limits.check_nodes(len(program.graph.nodes))
    total = constants = given = 0
    dependent: set[str] = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        elements = sum(_elements(value) for value in tree_leaves(node.meta.get("val")) if isinstance(value, Tensor))
        if node.op == "placeholder":
            given += elements if node.name not in dependent else 0
            continue
        if "repeat_interleave" in str(node.target) and free_unbacked_symbols(node.meta.get("val")):
            raise UnsupportedOperation(
                "It calls repeat_interleave with counts whose sum, its output_size, is not stated."
            )
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        limits.check_value(f"the result of {stack[-1][0] if stack else node.name}", elements)
        if any(source.name in dependent for source in node.all_input_nodes):
            dependent.add(node.name)
            compared = _compared(node)
            limits.check_value(f"what {stack[-1][0] if stack else node.name} compares", compared)
            limits.check_values(_laid_out(node, elements))
            total += elements + compared
        elif not _is_view(node):
            constants += elements
    limits.check_values(total)
    limits.check_folded(_BYTES * constants, _BYTES * given)


_BYTES = 8  # constants are folded in float64


def _laid_out(node: Any, elements: int) -> int:
    """Numbers that torch lays out for one point to make the result: windows of a convolution, or of pooling."""
    name = operation_name(node.target)
    if name.startswith("conv") and isinstance(node.args[1], torch.fx.Node):
        weight, read = (node.args[place].meta["val"].shape for place in (1, 0))
        return int(prod(weight[2:]) * prod(read[1:2]) * elements // max(1, weight[0]))
    if "pool" in name and len(node.args) > 1 and isinstance(node.args[1], (list, tuple)):
        return int(prod(node.args[1]) * elements)
    if "cdist" in name and isinstance(node.args[0], torch.fx.Node):
        return int(node.args[0].meta["val"].shape[-1] * elements)  # every difference
    return elements


def _compared(node: Any) -> int:
    """With how many numbers all results of an order statistic are compared: each with those of its dimension."""
    if operation_name(node.target) not in _SORTING or not isinstance(node.meta["val"], (list, tuple)):
        return 0
    names = [argument.name for argument in node.target._schema.arguments]
    dimension = {**dict(zip(names, node.args)), **node.kwargs}.get("dim", -1)
    return _elements(node.meta["val"][0]) * _size_for(node.args[0].meta["val"].shape[dimension], 1)


_SORTING = {"sort", "topk", "kthvalue", "median", "nanmedian"}


def _elements(value: Tensor) -> int:
    """Numbers for one point; a size that depends on the batch, such as ``1000 N``, is asked for in batches of 1–3."""
    return max(-(-prod(_size_for(size, rows) for size in value.shape) // rows) for rows in (1, 2, 3))


def _size_for(size: int | torch.SymInt, rows: int) -> int:
    """A size of a trace where the batch, or how many numbers of a constant are chosen, is ``rows``."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, rows)))


def _is_view(node: torch.fx.Node) -> bool:
    """Whether a node's result lies in the memory of what it reads."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(made.alias_info is not None for made in schema.returns)


# ---------------------------------------------------------------- names, and the door


def shown(text: str) -> str:
    """A text of a file for a person: on one line, without control characters, and not long."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextmanager
def at_the_door(path: str | os.PathLike[str], labels: Mapping[str, Label] | None = None) -> Iterator[None]:
    """Whatever goes wrong with a file becomes an error that names it, with the file's names in place of counted ones.

    This is the one place that catches everything: what torch, onnx or zipfile raise for bytes made to mislead them is
    not theirs to document.

    Raises:
        OSError: the file itself cannot be read.
        ImportError: a package is missing.
        UnsupportedOperation: as raised inside.
        ValueError: any other error raised inside.
    """
    try:
        yield
    except (OSError, ImportError) as error:
        if isinstance(error, OSError) and error.filename is None:
            raise ValueError(f"{path}: {error}") from None
        raise
    except UnsupportedOperation as error:
        raise UnsupportedOperation(_text(path, error, labels)) from None
    except ValueError as error:
        raise ValueError(_text(path, error, labels)) from None
    except Exception as error:
        reason = _text(path, error, labels)
        raise ValueError(f"{reason} ({type(error).__name__}); the file may be damaged") from None


def _text(path: str | os.PathLike[str], error: Exception, labels: Mapping[str, Label] | None) -> str:
    def named(match: re.Match[str]) -> str:
        label = (labels or {}).get(match[1])
        if label is None:
            return match[0]
        name = label.name or "the model itself"
        return f"{name} ({label.kind})" if match[2] and label.kind else name

    reason = re.sub(r"\b(file_(?:node|value|tensor)_[0-9x]+)\b( \(FileNode\))?", named, str(error).strip())
    reason = reason if len(reason) <= 2000 else f"{reason[:2000]}..."
    return reason if str(path) in reason else f"{path}: {reason}"
