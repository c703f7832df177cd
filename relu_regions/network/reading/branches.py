"""torch.cond in a traced graph: where a choice does not depend on the input, the block that is chosen stands there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["is_choice", "with_chosen_branches"]

Constants = Mapping[str, Tensor]


def is_choice(node: fx.Node) -> bool:
    """Whether a node is a torch.cond."""
    return node.op == "call_function" and node.target is torch.ops.higher_order.cond


def with_chosen_branches(module: fx.GraphModule, constants: Constants) -> fx.GraphModule:
    """The same graph, with the branch that constants choose in the place of each torch.cond.

    Args:
        module: of ATen operations.
        constants: the tensors that its placeholders stand for, all but the input.

    Raises:
        UnsupportedOperation: a choice depends on the input.
    """
    graph = fx.Graph()
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    made = {node: graph.node_copy(node) for node in placeholders}
    graph.output(_copied(module, made, graph, constants))
    return fx.GraphModule(module, graph)


def _copied(module: fx.GraphModule, made: dict[fx.Node, Any], graph: fx.Graph, constants: Constants) -> Any:
    """Copy a module's nodes to the end of a graph.

    Args:
        module: the one, or a branch of it.
        made: what its placeholders are there; filled with what its other nodes are.

    Returns:
        What the module returns.
    """
    for node in module.graph.nodes:
        if node.op == "output":
            return fx.map_arg(node.args[0], made.__getitem__)
        if node in made or node.op == "get_attr":
            continue  # a get_attr is a branch, which is copied where it is chosen
        if is_choice(node):
            choice, *branches, operands = node.args
            chosen = branches[0 if _holds(made[choice], graph, constants, node) else 1]
            branch = getattr(module, chosen.target)
            inputs = [inner for inner in branch.graph.nodes if inner.op == "placeholder"]
            inside = dict(zip(inputs, fx.map_arg(operands, made.__getitem__)))
            made[node] = _copied(branch, inside, graph, constants)
        elif node.args and isinstance(node.args[0], fx.Node) and is_choice(node.args[0]):
            made[node] = made[node.args[0]][node.args[1]]  # one of a branch's outputs
        else:
            made[node] = graph.node_copy(node, made.__getitem__)
    raise ValueError("The graph of the model returns nothing.")


def _holds(choice: fx.Node, graph: fx.Graph, constants: Constants, node: fx.Node) -> bool:
    """What a truth value is that constants decide."""
    wanted, stack = {choice}, [choice]
    while stack:
        new = set(stack.pop().all_input_nodes) - wanted
        wanted |= new
        stack += new
    if any(node.op == "placeholder" and node.name not in constants for node in wanted):
        stack_of = list((node.meta.get("nn_module_stack") or {}).values())
        where = str(stack_of[-1][0]) if stack_of and stack_of[-1][0] else "the model itself"
        raise UnsupportedOperation(
            f"Cannot read torch.cond in {where}: which branch it takes depends on the input, so that its answer jumps. "
            "Write the branch that is meant, or a maximum of both."
        )
    values: dict[fx.Node, Any] = {}
    for one in graph.nodes:
        if one in wanted:
            given, named = (fx.map_arg(arguments, values.__getitem__) for arguments in (one.args, one.kwargs))
            values[one] = constants[one.name] if one.op == "placeholder" else one.target(*given, **named)
    return bool(values[choice])
