"""Modules that hold the model and only call it; a model of several inputs of which all but one are fixed, and one that
ends at a module inside of it."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_map

from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["Fixed", "Inside", "is_graph", "unwrapped"]


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of what ``torch.compile``, data parallelism or averaging of weights makes of it.

    Raises:
        ValueError: it is a scripted or traced module, whose Python code is not there.
    """
    while (name := _attribute(model)) is not None and not _has_hooks(model) and not _has_own_forward(model):
        model = getattr(model, name)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"The model is a {type(model).__name__} of torch.jit, which torch.export does not trace. Give the module "
            "that it was made from, with the weights of this one: original.load_state_dict(scripted.state_dict())."
        )
    return model


def is_graph(model: nn.Module) -> bool:
    """Whether a module is a graph of operations alone, as ``program.module()`` is: it has no mode to be in."""
    if not isinstance(model, torch.fx.GraphModule):
        return False
    called = (str(node.target) for node in model.graph.nodes if node.op == "call_module")
    return all(name == "_guards_fn" for name in called)


def _attribute(model: nn.Module) -> str | None:
    """What holds the model in a wrapper of torch's; None for other modules."""
    if type(model) in (AveragedModel, nn.DataParallel, nn.parallel.DistributedDataParallel):
        return "module"
    return "_orig_mod" if isinstance(model, torch._dynamo.eval_frame.OptimizedModule) else None


def _has_hooks(model: nn.Module) -> bool:
    """Whether hooks, its own or those on all modules, may change what it is given or makes."""
    every = (module_hooks._global_forward_hooks, module_hooks._global_forward_pre_hooks)
    return bool(model._forward_hooks or model._forward_pre_hooks or any(every))


def _has_own_forward(model: nn.Module) -> bool:
    """Whether somebody has put another forward in place of the class's; ``torch.compile`` does so itself."""
    forward = vars(model).get("forward")
    compiled = isinstance(model, torch._dynamo.eval_frame.OptimizedModule)
    return forward is not None and not (compiled and str(getattr(forward, "__module__", "")).startswith("torch."))


class Fixed(nn.Module):
    """A model of one input, made of one of several.

    Args:
        model: in eval mode.
        fixed: the other inputs by name: tensors for one point, without the batch dimension, or anything else as it is.

    Raises:
        ValueError: the names are not those of all inputs but one.
    """

    def __init__(self, model: nn.Module, fixed: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.plain = model, {k: v for k, v in fixed.items() if not isinstance(v, Tensor)}
        self.tensors = [name for name, given in fixed.items() if isinstance(given, Tensor)]
        for name in self.tensors:
            self.register_buffer(f"fixed_{name}", fixed[name])
        self.free = _free(model, fixed)
        given = signature(model.forward).parameters.values()
        self.positional = [one.name for one in given if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
        self.training = False  # and the model is left as it is: a program's module has no mode to be set

    def forward(self, x: Tensor) -> Any:
        """The model's answer for rows of the input that is free."""
        given = {name: getattr(self, f"fixed_{name}") for name in self.tensors}
        spread = {name: tensor.expand(x.shape[0], *tensor.shape) for name, tensor in given.items()}
        inputs = {self.free: x, **spread, **self.plain}
        ordered = [inputs.pop(name) for name in takewhile(inputs.__contains__, self.positional)]
        return self.model(*ordered, **inputs)


class Inside(nn.Module):
    """What a module inside of a model makes, as a function of the model's input.

    Args:
        model: in eval mode, of one input.
        path: of the module.
    """

    def __init__(self, model: nn.Module, path: str) -> None:
        super().__init__()
        self.model, self.path = model, path
        self.training = False

    def forward(self, x: Tensor) -> Any:
        """What the module returns for rows of the model's input.

        Raises:
            UnsupportedOperation: the model does not call it once.
        """
        made: list[Any] = []

        def keep(module: nn.Module, given: Any, result: Any) -> None:
            # What follows may write into it.
            made.append(tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, result))

        handle = self.model.get_submodule(self.path).register_forward_hook(keep)
        try:
            self.model(x)
        finally:
            handle.remove()
        if len(made) != 1:
            raise UnsupportedOperation(
                f"output={self.path!r} names a module that the model calls {len(made)} times; name one that it calls "
                "once, or one of its outputs."
            )
        return made[0]


def _free(model: nn.Module, fixed: Mapping[str, Any]) -> str:
    """The name of the input that is not fixed."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    inputs = {name: given for name, given in signature(model.forward).parameters.items() if given.kind in kinds}
    unknown = [name for name in fixed if name not in inputs]
    free = [name for name, given in inputs.items() if name not in fixed and given.default is Parameter.empty]
    if unknown or len(free) != 1:
        raise ValueError(
            f"fixed= must name all inputs of the model but one; its forward takes {list(inputs)}, and fixed has "
            f"{list(fixed)}."
        )
    return free[0]
