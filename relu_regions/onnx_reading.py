"""Reading ONNX files: a kept converter makes them torch modules, onnxruntime says whether they are the same."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from relu_regions.operations import UnsupportedOperation

if TYPE_CHECKING:
    import onnx

    from relu_regions.network import Network

__all__ = ["check_against_onnxruntime", "module_from_onnx"]

# Inputs that say how a tensor is laid out, not what it holds: torch.export wants them as plain numbers.
_LAYOUT_INPUTS = {
    "Expand": (1,), "Gather": (1,), "Pad": (1, 3), "Reshape": (1,), "Resize": (2, 3), "Slice": (1, 2, 3, 4), "Split": (1,),
    "Squeeze": (1,), "Tile": (1,), "Unsqueeze": (1,), "Upsample": (1,),
    **{f"Reduce{kind}": (1,) for kind in ("Max", "Min", "Mean", "Sum", "L1")},
}  # fmt: skip


class OnnxNode(nn.Module):
    """One operator of an ONNX graph: a submodule, so that messages about it give the node's name."""

    def __init__(self, operator: str, function: Callable[..., Any]) -> None:
        super().__init__()
        self.operator = operator
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the operator does."""
        return self.function(*args, **kwargs)

    def extra_repr(self) -> str:
        """The ONNX operator."""
        return self.operator


def module_from_onnx(path: str | os.PathLike[str], output: str | None = None) -> tuple[nn.Module, tuple[int, ...]]:
    """The network in an ONNX file, and the shape of one input.

    The conversion is onnx2fx's. Before it the graph is made to take a batch of any size, and its constants are folded.

    Args:
        path: of the file.
        output: name of the output to take where the file has several.

    Returns:
        A module in eval mode that takes ``(N, *input_shape)`` in the file's own dtype, with a submodule for each node
        of the graph under the node's name; and ``input_shape``.

    Raises:
        ImportError: onnx or onnx2fx is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the file is no ONNX model, has several inputs or outputs, or its first axis is not a batch.
        UnsupportedOperation: it has operators that cannot be converted; all are named.
    """
    try:
        import onnx
        import onnx2fx
    except ImportError as error:
        raise ImportError(
            f"Reading ONNX files needs the package {error.name}, on Python 3.11 or later: "
            'pip install "relu-regions[onnx]".'
        ) from error
    from relu_regions.onnx_graphs import keep_output, name_nodes, with_free_batch

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; give the path of an .onnx file.")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, of onnx's checker, or of a missing file of weights
        raise ValueError(f"{path} is not a valid ONNX model: {error}") from error
    name_nodes(model.graph)
    _refuse_unknown(model, path)
    try:
        keep_output(model.graph, output)
        model = with_free_batch(model)
    except (ValueError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"Cannot read {path}: {str(error).strip()}") from error
    try:
        module = _with_named_nodes(onnx2fx.convert(model)).eval()
    except onnx2fx.Onnx2FxError as error:
        raise UnsupportedOperation(f"onnx2fx could not convert {path}: {error}") from error
    sizes = model.graph.input[0].type.tensor_type.shape.dim[1:]
    return module, tuple(size.dim_value for size in sizes)


def _refuse_unknown(model: onnx.ModelProto, path: Path) -> None:
    import onnx2fx

    from relu_regions.onnx_graphs import describe_nodes

    branching = [node for node in model.graph.node if any(attribute.HasField("g") for attribute in node.attribute)]
    if branching:
        raise UnsupportedOperation(f"{path} has control flow, which cannot be read: {describe_nodes(branching)}.")
    versions = {opset.domain: opset.version for opset in model.opset_import}
    nodes = model.graph.node
    unknown = [n for n in nodes if not onnx2fx.is_supported(n.op_type, n.domain, versions.get(n.domain, 1))]
    # onnx2fx 0.0.1 takes no notice of the axes of a padding.
    unknown += [node for node in nodes if node.op_type == "Pad" and len(node.input) > 3 and node.input[3]]
    if unknown:
        raise UnsupportedOperation(f"{path} has operators that onnx2fx cannot convert: {describe_nodes(unknown)}.")


# ---------------------------------------------------------------- the torch graph, after conversion


def _with_named_nodes(module: torch.fx.GraphModule) -> nn.Module:
    """Every operator as a submodule named after its ONNX node, layouts as plain numbers, Gemm as a linear layer."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        operator = str(node.meta.get("onnx_op_type", node.name))
        function, arguments, keywords = _plain_call(module, node, operator)
        path = _free_path(module, str(node.meta.get("onnx_name") or node.name))
        module.add_submodule(path, OnnxNode(operator, function))
        with graph.inserting_before(node):
            call = graph.call_module(path, arguments, keywords)
        node.replace_all_uses_with(call)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in module.named_buffers(recurse=False) if name not in used]:
        delattr(module, name)
    graph.lint()
    module.recompile()
    return module


def _plain_call(
    module: torch.fx.GraphModule, node: torch.fx.Node, operator: str
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    def plain(argument: Any) -> Any:
        constant = isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
        return getattr(module, str(argument.target)).tolist() if constant else argument

    layout = _LAYOUT_INPUTS.get(operator, ())
    arguments = tuple(plain(value) if position in layout else value for position, value in enumerate(node.args))
    bounds = operator == "Clip"
    keywords = {name: plain(value) if bounds else value for name, value in node.kwargs.items()}
    if operator == "Gemm" and arguments[3:] == (1.0, 1.0, 0, 1):
        return nn.functional.linear, arguments[:3], keywords
    function = _OWN_FUNCTIONS.get(operator, node.target)
    return function, arguments, keywords  # type: ignore[return-value]


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    slopes = slope.expand(1, *x.shape[1:]).reshape(-1)
    return nn.functional.prelu(x.flatten(1), slopes).view(x.shape)


def _gather(x: Tensor, positions: Any, axis: int) -> Tensor:
    if isinstance(positions, int):
        return x.select(axis, positions)
    index = positions if isinstance(positions, Tensor) else torch.tensor(positions)
    return x[(slice(None),) * (axis % x.ndim) + (index,)]


# Operators that onnx2fx writes as comparisons or moves across the batch, which the reader refuses.
_OWN_FUNCTIONS: dict[str, Callable[..., Tensor]] = {"Gather": _gather, "PRelu": _prelu}


def _free_path(module: nn.Module, name: str) -> str:
    """The node's name as the path of a submodule: torch takes dots as levels, none of them empty or in use."""
    path = re.sub(r"^\.|\.(?=\.|$)", "_", name)
    while _taken(module, path.split(".")):
        path = f"_{path}"
    return path


def _taken(module: Any, levels: list[str]) -> bool:
    for level in levels:
        if not isinstance(module, nn.Module):
            return True
        if not hasattr(module, level):
            return False
        module = getattr(module, level)
    return True


# ---------------------------------------------------------------- the check


def check_against_onnxruntime(network: Network, path: str | os.PathLike[str], output: str | None = None) -> None:
    """Compare a network with the file it was read from, on random inputs of several sizes.

    They may differ by the rounding of the file's own precision. How much that is depends on the network, so it is
    measured: as the difference between the network's answers in that precision and in float64.

    Args:
        network: as read.
        path, output: as :func:`module_from_onnx`.

    Raises:
        ImportError: onnxruntime is not installed.
        UnsupportedOperation: they differ.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # old files list their weights among the inputs: a warning for each
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rounded = network.to(network.input_dtype, "cpu")
    generator = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 10.0, 100.0):
        x = (scale * torch.randn(1, *network.input_shape, generator=generator)).to(network.input_dtype)
        with torch.no_grad():
            exact, own = network(x.double()), rounded(x)
        theirs = torch.from_numpy(session.run([output] if output else None, {name: x.numpy()})[0]).double()
        rounding = max(float((own.double() - exact).abs().max()), torch.finfo(own.dtype).eps * float(exact.abs().max()))
        difference = float((theirs.reshape(exact.shape) - exact).abs().max())
        # onnxruntime sums in another order and fuses layers; a network read wrongly is off by far more than this.
        if not difference <= 100 * rounding:
            raise UnsupportedOperation(
                f"The network as read from {path} differs from onnxruntime's by {difference:.3g} on random inputs, where "
                f"{own.dtype} rounds by {rounding:.3g}; relu_regions cannot walk it. A file that shows this is worth a report."
            )
