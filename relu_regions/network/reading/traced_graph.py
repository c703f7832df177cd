"""The traced graph of a model, without its weights: what is kept of a trace, and used again for other weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature

from relu_regions.network.reading.branches import is_choice, with_chosen_branches
from relu_regions.network.reading.decompositions import decomposed, writes_in_place
from relu_regions.network.reading.last_operations import LOGITS
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.reading.outputs import output_names, output_position

__all__ = ["TracedGraph"]


@dataclass(frozen=True)
class TracedGraph:
    """A traced model without its weights.

    Attributes:
        module: the graph of ATen operations, its parameters, buffers and constants among its inputs.
        signature: which of its inputs are what.
        names: of the model's outputs, where they have any.
        constants: tensors that are neither parameters nor buffers, by name.
    """

    module: torch.fx.GraphModule
    signature: ExportGraphSignature
    names: tuple[str, ...]
    constants: Mapping[str, Tensor]

    @classmethod
    def of(cls, program: ExportedProgram) -> TracedGraph:
        """The graph of a program, in fewer operations than torch has (``decompositions``).

        Raises:
            ValueError: the batch size is fixed.
            UnsupportedOperation: there are several inputs, the input holds no floats, or a buffer is written to.
        """
        _check_input(cls.as_traced(program).input)
        program = decomposed(program)
        for name in program.graph_signature.buffers_to_mutate.values():
            raise UnsupportedOperation(
                f"The forward pass writes to the buffer {name!r}: an answer could depend on the calls before it. "
                "Remove that line, or make it depend on self.training."
            )
        return cls.as_traced(program)

    @classmethod
    def as_traced(cls, program: ExportedProgram) -> TracedGraph:
        """The graph of a program as it is."""
        names = output_names(program.call_spec.out_spec)
        constants = {name: value for name, value in program.constants.items() if isinstance(value, Tensor)}
        return cls(program.graph_module, program.graph_signature, names, constants)

    def with_own_constants(self) -> TracedGraph:
        """The same graph, whose constants stay as they are when the model's own are written to."""
        return replace(self, constants={name: constant.detach().clone() for name, constant in self.constants.items()})

    def with_branches(self, tensors: Mapping[str, Tensor]) -> TracedGraph:
        """The same graph, with the branch that the model's tensors choose in the place of each torch.cond.

        Args:
            tensors: parameters and buffers by name.

        Raises:
            UnsupportedOperation: a choice depends on the input.
        """
        if not any(map(is_choice, self.nodes)):
            return self
        placeholders = [node for node in self.nodes if node.op == "placeholder" and node is not self.input]
        constants = {node.name: self.tensor(node, tensors) for node in placeholders}
        return replace(self, module=with_chosen_branches(self.module, constants))

    def run(self, x: Tensor, tensors: Mapping[str, Tensor]) -> tuple[Any, ...]:
        """The model's outputs for rows ``(N, *input_shape)``, in the dtype of its tensors, given by name.

        Nodes that nothing reads, such as checks of shapes, are left out.
        """
        placeholders = [node for node in self.nodes if node.op == "placeholder"]
        given = [x if node is self.input else self.tensor(node, tensors) for node in placeholders]
        outputs = tuple(_Run(self.module).run(*given))
        return outputs[len(outputs) - len(self.signature.user_outputs) :]

    @property
    def nodes(self) -> list[torch.fx.Node]:
        """The nodes, each after those it reads from."""
        return list(self.module.graph.nodes)

    @cached_property
    def input(self) -> torch.fx.Node:
        """The node that stands for x.

        Raises:
            UnsupportedOperation: the model takes several inputs.
        """
        users = [n for n in self.nodes if n.op == "placeholder" and n.name in self.signature.user_inputs]
        if len(users) != 1:
            raise UnsupportedOperation(f"The model takes {len(users)} inputs; relu_regions walks models of one input.")
        return users[0]

    @cached_property
    def narrowest(self) -> torch.dtype:
        """The float dtype with the fewest bits that anything is computed in."""
        metas = [node.meta.get("val") for node in self.nodes if node.op == "call_function"]
        made: set[torch.dtype] = {
            meta.dtype for meta in metas if isinstance(meta, Tensor) and meta.dtype.is_floating_point
        }
        own: torch.dtype = self.input.meta["val"].dtype
        return max({own, *made}, key=lambda dtype: torch.finfo(dtype).eps)

    def tensor(self, placeholder: torch.fx.Node, tensors: Mapping[str, Tensor]) -> Tensor:
        """The parameter, buffer or constant that an input of the graph stands for.

        Args:
            placeholder: one of the graph's inputs.
            tensors: parameters and buffers by name.
        """
        signature = self.signature
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        if named.get(placeholder.name) in tensors:
            return tensors[named[placeholder.name]]
        constants = {**named, **signature.inputs_to_lifted_tensor_constants}
        if constants.get(placeholder.name) in self.constants:
            return self.constants[constants[placeholder.name]]
        raise UnsupportedOperation(f"The program's input {placeholder.name!r} is no tensor that the model holds.")

    def output_position(self, output: int | str | None) -> int:
        """Which of the model's outputs is meant, by position or name; errors as ``outputs.output_position``."""
        if output == LOGITS and LOGITS not in self.names:
            output = None
        return output_position(self.names, len(self.signature.user_outputs), output)


class _Run(torch.fx.Interpreter):
    def run_node(self, n: torch.fx.Node) -> Any:
        needless = n.op == "call_function" and not n.users and not writes_in_place(n)
        return None if needless else super().run_node(n)


def _check_input(node: torch.fx.Node) -> None:
    meta = node.meta["val"]
    if not isinstance(meta, Tensor) or not meta.dtype.is_floating_point:
        raise UnsupportedOperation("The model's input is no floating-point tensor.")
    if meta.ndim < 2 or not isinstance(meta.shape[0], torch.SymInt):
        raise ValueError(
            "The exported program has a fixed batch size; export it with a dynamic first dimension: "
            "torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('N')},))."
        )
