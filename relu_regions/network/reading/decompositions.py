"""Programs in fewer operations: nothing in place, no blocks, and torch's own spelling of what it spells in others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.export import ExportedProgram, default_decompositions

from relu_regions.network.reading.branches import is_choice
from relu_regions.network.reading.operations.constants import operation_name

__all__ = ["SPELLED_OUT", "decomposed", "writes_in_place"]

# Names of ATen operations that torch spells out in others that are read.
SPELLED_OUT = frozenset(
    {
        "addcdiv", "addcmul", "aminmax", "baddbmm", "diff", "l1_loss", "lerp", "linalg_multi_dot", "linalg_norm",
        "pairwise_distance", "rnn_relu", "rnn_relu_cell", "trapezoid",
    }
)  # fmt: skip


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The same program without operations in place, and with torch's own spelling of the operations listed above.

    A reader would have to follow what is written in place through every alias.
    """
    nodes = list(program.graph.nodes)
    spellings = _spellings() if any(operation_name(node.target) in SPELLED_OUT for node in nodes) else {}
    if spellings or any(writes_in_place(node) or _is_block(node) for node in nodes):
        program = program.run_decompositions(dict(spellings))
    return program


@cache
def _spellings() -> dict[Any, Callable[..., Any]]:
    table: dict[Any, Callable[..., Any]] = dict(default_decompositions())
    return {target: spelt for target, spelt in table.items() if operation_name(target) in SPELLED_OUT}


def writes_in_place(node: torch.fx.Node) -> bool:
    """Whether a node changes what it is given in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _is_block(node: torch.fx.Node) -> bool:
    """Whether a node holds blocks: ``torch.no_grad()``, ``autocast(enabled=False)``, or the branches of torch.cond."""
    is_wrapped = node.op == "call_function" and getattr(node.target, "__name__", "").startswith("wrap_with_")
    return is_wrapped or is_choice(node)
