"""Network: a model as it was read, with the doors for torch modules, exported programs and ONNX files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram

from relu_regions.network.reading.foreign import Asked
from relu_regions.network.reading.limits import Limits
from relu_regions.network.reading.models import read_module, read_program, read_traced
from relu_regions.network.reading.onnx_reading import open_onnx
from relu_regions.network.reading.pt2 import module_from_pt2
from relu_regions.network.reading.verify import Original
from relu_regions.network.step_graph import StepGraph

__all__ = ["Network", "read"]


class Network(StepGraph):
    """A continuous piecewise-linear network as the walk sees it.

    Attributes:
        steps: affine steps and gates, each after those it reads from.
        input_name: the value that the first steps read.
        output_name: the value that holds the logits.
        input_shape: shape of one input, without the batch dimension.
        output_shape: shape of one output; ``(classes,)`` for a classifier.
        input_dtype: what the model itself computes in.
    """

    @classmethod
    def from_module(
        cls,
        model: nn.Module,
        input_shape: Sequence[int],
        output: int | str | None = None,
        *,
        fixed: Mapping[str, Any] | None = None,
    ) -> Network:
        """Read a torch module.

        The module is traced by torch.export. A trace is kept and used again for as long as running the module calls the
        same operations with the same numbers; weights are read anew at each call. The reading is compared with the
        module's own forward pass.

        Args:
            model: in eval mode; not modified.
            input_shape: shape of one input, without the batch dimension.
            output: which output to read where the model returns several: by position, or by name, which is a key, a
                field or a position, in what is nested a path of these (``"aux.0"``). ``"logits"`` also stands for what
                is before a softmax, log-softmax or sigmoid at the end; the path of a module inside of the model
                (``"features.3"``) for what that module makes.
            fixed: where the model takes several inputs, all but one by name: tensors for one point, without the batch
                dimension, or anything else as it is.

        Raises:
            TypeError: model is no torch module.
            ValueError: the model is in training mode, or does not accept a batch of this shape.
            UnsupportedOperation: the model is not continuous and piecewise linear, or cannot be read.
        """
        return cls.of(read_module(model, input_shape, output, fixed=fixed).network)

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
            output: which output to read, by position or by name, as in ``from_module``, where the program returns
                several. ``"logits"`` also stands for what is before a softmax, log-softmax or sigmoid at the end; in a
                file, the name of any value of its graph (``"relu_3"``) for that value.
            limits: how much a file may ask for.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is no exported program, is damaged, asks for more than the limits allow, or the batch
                size is fixed.
            UnsupportedOperation: the program is not continuous and piecewise linear, or cannot be read.
        """
        if not isinstance(program, ExportedProgram):
            limits = limits or Limits()
            return cls.of(module_from_pt2(program, output, limits).network(read_traced, limits))
        return cls.of(read_program(program, output).network)

    @classmethod
    def from_onnx(
        cls,
        path: str | os.PathLike[str],
        output: int | str | None = None,
        *,
        fixed: Mapping[str, Any] | None = None,
        input_shape: Sequence[int] | None = None,
        limits: Limits | None = None,
    ) -> Network:
        """Read an ONNX file (needs the extra ``relu-regions[onnx]``).

        The weights are those of the file, exactly. Where onnxruntime is installed, its answers on random inputs are
        compared with the network's.

        The network answers for a point what the file answers for that point alone. The first axis of the file's input
        is the batch, of free or of any fixed size. Where it has a fixed size and the
        network mixes what lies on it, or where there is one axis alone, all of the input is one point; a first axis of
        1 is then left out.

        Args:
            path: of a file whose inputs but one are fixed.
            output: name of the output to read, or its position, where the file has several; or the name of any value
                inside of the network. ``"logits"``, where none has that name, is what is before a softmax, log-softmax
                or sigmoid at the end.
            fixed: where the file has several inputs, all but one by name: numbers of the shape that the file states,
                or of one point, without the batch axis in front.
            input_shape: shape of one input, without the batch axis, where the file leaves sizes open; all of the
                stated shape says that there is no batch axis.
            limits: how much the file may ask for.

        Raises:
            ImportError: onnx or onnx2fx is not installed.
            FileNotFoundError: there is no such file.
            ValueError: the file is no ONNX model, asks for more than the limits allow, has several inputs or outputs,
                or leaves sizes open.
            UnsupportedOperation: the network is not continuous and piecewise linear, or cannot be read; the text
                names the node.
        """
        shape = None if input_shape is None else tuple(int(size) for size in input_shape)
        file = open_onnx(path, Asked(output, dict(fixed or {}), shape), limits or Limits())
        return cls.of(file.network(read_traced))

    @classmethod
    def of(cls, graph: StepGraph) -> Network:
        """What a reader made, with the doors."""
        return cls(**{field.name: getattr(graph, field.name) for field in fields(graph)})


def read(
    model: nn.Module | Network | ExportedProgram, input_shape: Sequence[int], rows: Tensor | None = None
) -> tuple[Network, Original | None]:
    """The network that a public function was given, in whichever form, and the model that it was read from.

    Args:
        model: as given.
        input_shape: shape of one input, without the batch dimension.
        rows: two points that the caller asks about, ``(2, *input_shape)``, at which a module is run and compared.

    Returns:
        The network, and the original to compare it with; None where a network was given.

    Raises:
        TypeError, ValueError, UnsupportedOperation: as ``Network.from_module``.
    """
    if isinstance(model, (StepGraph, ExportedProgram)):
        graph, original = (model, None) if isinstance(model, StepGraph) else read_program(model, None)
        if tuple(input_shape) != graph.input_shape:
            raise ValueError(
                f"x has inputs of shape {tuple(input_shape)}, but the network was read for {graph.input_shape}; "
                "give x as (N, *input_shape), or read the model for this shape."
            )
    else:
        graph, original = read_module(model, input_shape, None, rows)
    return graph if isinstance(graph, Network) else Network.of(graph), original
