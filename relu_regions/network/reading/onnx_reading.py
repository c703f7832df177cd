"""Reading ONNX files: a kept converter makes them torch modules, onnxruntime says whether they are the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from relu_regions.network.reading.foreign import Asked, FileModule, FileNode, Label, at_the_door
from relu_regions.network.reading.limits import Limits
from relu_regions.network.reading.models import Reading
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.step_graph import StepGraph

if TYPE_CHECKING:
    import onnx

    from relu_regions.network.reading.onnx_ends import Entry
    from relu_regions.network.reading.onnx_rebuilding import Rebuilt

__all__ = ["OnnxFile", "check_against_onnxruntime", "open_onnx"]

# Inputs that say how a tensor is laid out, not what it holds: torch.export wants them as plain numbers.
_LAYOUT_INPUTS = {
    "CumSum": (1,), "Expand": (1,), "Pad": (1, 3), "Reshape": (1,), "Resize": (2, 3),
    "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,), "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,),
    "Upsample": (1,),
    **{f"Reduce{kind}": (1,) for kind in ("Max", "Min", "Mean", "Sum", "L1")},
}  # fmt: skip


@dataclass(frozen=True)
class OnnxFile:
    """A file, made anew, without names of its own.

    Attributes:
        path: of the file.
        made: the model, with its constants as they are, and its input.
    """

    path: Path
    made: Rebuilt
    limits: Limits

    def network(self, read: Callable[[nn.Module, ExportedProgram, str | None], Reading]) -> StepGraph:
        """The network in the file, compared with onnxruntime's answers.

        A first axis of fixed size is tried as the batch; where it is not, all of the input is one point.

        Args:
            read: makes a network of a module, its trace and its output, and compares it with the module.

        Raises:
            ValueError, UnsupportedOperation: as ``Network.from_onnx``.
        """
        entry, refused = self.made.entry, None
        ways = [True, False] if entry.batched is None and not entry.free else [entry.batched is not False]
        for batched in ways:
            try:
                with at_the_door(self.path, self.made.labels):
                    file = self.module(batched)
                return file.network(read, self.limits, partial(self._compare, batched=batched))
            except ValueError as error:
                refused = refused if isinstance(refused, UnsupportedOperation) else error
        assert refused is not None  # some way was tried
        raise refused

    def module(self, batched: bool) -> FileModule:
        """The network as a torch module that takes ``(N, *input_shape)``; errors as ``network``.

        Args:
            batched: whether the first axis is the batch; otherwise one is put in front of it, and a first axis of 1
                is left out where the file may have meant it as one.
        """
        from relu_regions.network.reading.onnx_graphs import folded, with_free_batch
        from relu_regions.network.reading.onnx_lifting import lifted

        entry, spare = self.made.entry, self.limits.spare_bytes
        if batched:
            free = with_free_batch(self.made.model, entry.sizes[0], spare)
        else:
            free = lifted(folded(self.made.model, entry.sizes[0], spare), entry.batched is None and entry.sizes[0] == 1)
        return _converted(self.path, free, self.made)

    def _compare(self, reading: Reading, batched: bool) -> None:
        if batched:
            widest = max((prod(step.shape) for step in reading.network.steps), default=1)
            self.limits.check_batch(self.made.entry.sizes[0], max(widest, prod(reading.network.input_shape)))
        check_against_onnxruntime(reading.network, self.made.model, self.made.entry, batched, reading.original.last)


def open_onnx(path: str | os.PathLike[str], asked: Asked, limits: Limits) -> OnnxFile:
    """An ONNX file, made anew. The conversion is onnx2fx's.

    Args:
        path: of the file.
        asked: which output is meant, what the inputs but one hold, and the shape of that one.
        limits: how much the file may ask for.

    Raises:
        ImportError: onnx or onnx2fx is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the file is no ONNX model, asks for more than the limits allow, or has several inputs or outputs.
        UnsupportedOperation: it has operators that cannot be converted; all are named.
    """
    try:
        import onnx
        import onnx2fx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Reading ONNX files needs the package {error.name}, on Python 3.11 or later: "
            'pip install "relu-regions[onnx]".'
        ) from error
    from relu_regions.network.reading.onnx_files import Tensors, parse_model
    from relu_regions.network.reading.onnx_rebuilding import rebuilt

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; give the path of an .onnx file.")
    with at_the_door(path):
        parsed, budget = parse_model(path, limits)
        made = rebuilt(parsed, asked, Tensors(path, budget))
        del parsed
    with at_the_door(path, made.labels):
        onnx.checker.check_model(made.model)
    return OnnxFile(path, made, limits)


def _converted(path: Path, free: onnx.ModelProto, made: Rebuilt) -> FileModule:
    import onnx2fx

    try:
        converter = _converter()(free)
        module = _with_named_nodes(converter.root(), converter.graph, made.labels).eval()
        _state_dtype(module, made.entry)
    except (onnx2fx.Onnx2FxError, ImportError) as error:  # some of its operators ask for other packages
        raise UnsupportedOperation(f"onnx2fx could not convert {path}: {error}") from error
    sizes = free.graph.input[0].type.tensor_type.shape.dim[1:]
    return FileModule(path, module, tuple(size.dim_value for size in sizes), made.labels, made.logits)


def _state_dtype(module: nn.Module, entry: Entry) -> None:
    """Put a tensor of the input's type first, because tracing takes the input's dtype from the first tensor."""
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(entry.value.type.tensor_type.elem_type)
    dtype = _DTYPES.get(kind.name)
    if dtype is None:
        raise UnsupportedOperation(f"its input holds {kind}, and relu_regions walks networks of floats.")
    others = dict(module._buffers)
    module._buffers.clear()
    module.register_buffer("input_like", torch.empty(0, dtype=dtype))
    module._buffers.update(others)


_DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


def _converter() -> Any:
    """onnx2fx's builder of graphs, up to the graph: what it compiles of one would hold plain arguments of the file.

    Its sorting of nodes takes the square of their number; they are in order.
    """
    from onnx2fx.graph_builder import GraphBuilder

    class Converter(GraphBuilder):
        def _convert_nodes(self) -> None:
            for node in self.model.graph.node:
                handler, domain, _ = self._resolve_handler(node)
                made = handler(self, node)
                self._tag_operator_node(node, made, domain)
                self._register_outputs(node, made, domain)

        def root(self) -> nn.Module:
            """Makes the graph; what it reads is in the module."""
            self._load_initializers()
            self._create_placeholders()
            self._convert_nodes()
            self._create_outputs()
            root = nn.Module()
            for name, tensor in self._constants.items():
                root.register_buffer(name, tensor)
            for name, submodule in self._submodules.items():
                root.add_module(name, submodule)
            return root

    return Converter


# ---------------------------------------------------------------- the torch graph, after conversion


def _with_named_nodes(root: nn.Module, graph: torch.fx.Graph, labels: dict[str, Label]) -> nn.Module:
    """Every operator as a submodule of a counted name, layouts as plain numbers, Gemm as a linear layer."""
    graph.eliminate_dead_code()
    for place, node in enumerate(list(graph.nodes)):
        if node.op != "call_function":
            continue
        operator = str(node.meta.get("onnx_op_type", ""))
        function, arguments, keywords = _plain_call(root, node, operator)
        path = f"file_node_{len(labels)}x{place}"
        labels[path] = labels.get(str(node.meta.get("onnx_name")), Label(operator or node.name, operator))
        values: list[torch.fx.Node] = []
        root.add_module(path, FileNode(_Held(function, _slots(arguments, values), _slots(keywords, values))))
        with graph.inserting_before(node):
            call = graph.call_module(path, tuple(values))
        node.replace_all_uses_with(call)
        graph.erase_node(node)
    for node in [node for node in graph.nodes if node.op == "get_attr" and not node.users]:
        graph.erase_node(node)
    module = torch.fx.GraphModule(root, graph)
    graph.lint()
    return module


class _Slot(NamedTuple):
    """Stands for a value among the arguments of an operator that are held with it."""

    place: int


class _Held:
    """A call whose plain arguments are held here, as numbers, so that no source is made of them."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs

    def __call__(self, *values: Any) -> Any:
        def filled(argument: Any) -> Any:
            if isinstance(argument, _Slot):
                return values[argument.place]
            if isinstance(argument, (list, tuple)):
                return type(argument)(map(filled, argument))
            return argument

        return self.function(*filled(self.args), **{name: filled(value) for name, value in self.kwargs.items()})


def _slots(argument: Any, values: list[torch.fx.Node]) -> Any:
    """The argument with slots in place of values, which are put at the end of the list."""
    if isinstance(argument, torch.fx.Node):
        values.append(argument)
        return _Slot(len(values) - 1)
    if isinstance(argument, (list, tuple)):
        return [_slots(item, values) for item in argument]
    if isinstance(argument, dict):
        return {name: _slots(item, values) for name, item in argument.items()}
    return argument


def _plain_call(
    root: nn.Module, node: torch.fx.Node, operator: str
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    def plain(argument: Any) -> Any:
        constant = isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
        return getattr(root, str(argument.target)).tolist() if constant else argument

    layout = _LAYOUT_INPUTS.get(operator, ())
    arguments = tuple(plain(value) if position in layout else value for position, value in enumerate(node.args))
    if operator == "Gather" and (place := _single_number(root, arguments[1])) is not None:
        arguments = (arguments[0], place, *arguments[2:])
    bounds = operator == "Clip"
    keywords = {name: plain(value) if bounds else value for name, value in node.kwargs.items()}
    if operator == "Gemm" and arguments[3:] == (1.0, 1.0, 0, 1):
        return nn.functional.linear, arguments[:3], keywords
    if operator == "Concat" and (of_one_row := _of_one_row(root, node)):
        return partial(_joined, of_one_row=of_one_row), arguments, keywords
    function = _OWN_FUNCTIONS.get(operator, node.target)
    return function, arguments, keywords  # type: ignore[return-value]


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    slopes = slope.expand(1, *x.shape[1:]).reshape(-1)
    return nn.functional.prelu(x.flatten(1), slopes).view(x.shape)


def _single_number(root: nn.Module, argument: Any) -> int | None:
    """A constant position as a plain number; several of them stay a tensor, which takes no time to pass on."""
    constant = isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
    held = getattr(root, str(argument.target)) if constant else None
    return int(held) if held is not None and held.ndim == 0 else None


def _gather(x: Tensor, positions: Tensor | int, axis: int) -> Tensor:
    if isinstance(positions, int):
        return x.select(axis, positions)
    return x[(slice(None),) * (axis % x.ndim) + (positions,)]


def _of_one_row(root: nn.Module, node: torch.fx.Node) -> set[int]:
    """Which of the tensors that a node joins along another axis than the first are constants of one row."""
    parts, places = node.args[0], set()
    for place, part in enumerate(parts if isinstance(parts, (list, tuple)) else ()):
        if isinstance(part, torch.fx.Node) and part.op == "get_attr":
            shape = getattr(root, str(part.target)).shape
            if shape[:1] == (1,) and int(str(node.kwargs["dim"])) % len(shape):
                places.add(place)
    return places


def _joined(parts: Sequence[Tensor], dim: int, of_one_row: set[int]) -> Tensor:
    """Joins tensors, of which constants of one row are the same for every member of the batch."""
    rows = next(part.shape[0] for place, part in enumerate(parts) if place not in of_one_row)
    return torch.cat([p.expand(rows, *p.shape[1:]) if n in of_one_row else p for n, p in enumerate(parts)], dim)


def _topk(x: Any, k: Any, *options: int) -> Any:
    """Values and indices; or one of the two, which onnx2fx takes from both by a call of the same operator."""
    if not options:
        return x[k]
    axis, largest, in_order = options
    return x.topk(k[0], axis, bool(largest), bool(in_order))


# Operators that onnx2fx writes as comparisons, positions or moves across the batch, which the reader refuses.
_OWN_FUNCTIONS: dict[str, Callable[..., Any]] = {"Gather": _gather, "PRelu": _prelu, "TopK": _topk}


# ---------------------------------------------------------------- the check

# Numbers of the widest value that are computed at once; a file's batch may be thousands of points.
_PART_NUMBERS = 1 << 22


def _by_parts(network: StepGraph, x: Tensor) -> Tensor:
    """What a network makes of points, a few at a time."""
    widest = max(prod(shape) for shape in network.shapes.values())
    return torch.cat([network(part) for part in torch.split(x, max(1, _PART_NUMBERS // max(1, widest)))])


def check_against_onnxruntime(
    network: StepGraph,
    model: onnx.ModelProto,
    entry: Entry,
    batched: bool,
    last: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Compare a network with the model it was read from, at random inputs of several sizes, if onnxruntime is there.

    They may differ by the rounding of the file's own precision. How much that is depends on the network, so it is
    measured: as the difference between the network's answers in that precision and in float64.

    Args:
        network: as read.
        model: made anew from the file, with one output; onnxruntime sees nothing else of the file.
        entry: the model's input.
        batched: whether its first axis is the batch. One of free size is compared with one row, and with three where
            the file takes three.
        last: what the model does after the network.

    Raises:
        UnsupportedOperation: they differ.
    """
    if find_spec("onnxruntime") is None:
        return
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name, last = session.get_inputs()[0].name, last or (lambda values: values)
    rounded = network.to(network.input_dtype, "cpu")
    generator = torch.Generator().manual_seed(0)
    sizes = [entry.sizes[0] if batched else 1, *([3] if entry.free else [])]
    for scale, rows in itertools.product((0.1, 1.0, 10.0, 100.0), sizes):
        x = (scale * torch.randn(rows, *network.input_shape, generator=generator)).to(network.input_dtype)
        whole = (rows, *entry.sizes[1:]) if batched else entry.sizes
        try:
            theirs = torch.from_numpy(session.run(None, {name: x.reshape(whole).numpy()})[0]).double()
        except (states.Fail, states.InvalidArgument, states.RuntimeException):
            if rows == sizes[0]:
                raise
            continue  # the file leaves its batch free, and takes one point alone
        with torch.no_grad():
            exact, own = last(_by_parts(network, x.double())), last(_by_parts(rounded, x))
        rounding = max(float((own.double() - exact).abs().max()), torch.finfo(own.dtype).eps * float(exact.abs().max()))
        if theirs.numel() != exact.numel():
            raise UnsupportedOperation(
                f"The network as read gives {tuple(exact.shape)} numbers, and onnxruntime {tuple(theirs.shape)}; "
                "relu_regions cannot walk it."
            )
        difference = float((theirs.reshape(exact.shape) - exact).abs().max())
        # onnxruntime sums in another order and fuses layers; a network read wrongly is off by far more than this.
        if not difference <= 100 * rounding:
            raise UnsupportedOperation(
                f"The network as read differs from onnxruntime's by {difference:.3g} on {rows} random inputs, where "
                f"{own.dtype} rounds by {rounding:.3g}; relu_regions cannot walk it. A file that shows this is worth a "
                "report."
            )
