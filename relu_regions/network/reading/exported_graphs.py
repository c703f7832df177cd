"""The graph in a ``.pt2`` file as a torch module: listed operations by name, plain numbers, and values by name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from relu_regions.network.reading.exported_operations import counted, operation_named, writes
from relu_regions.network.reading.foreign import FileModule, FileNode, Label, shown
from relu_regions.network.reading.last_operations import LOGITS
from relu_regions.network.reading.limits import Limits
from relu_regions.network.reading.operations import UnsupportedOperation
from relu_regions.network.reading.outputs import output_position

__all__ = ["DTYPES", "read_graph"]

# The numbers that the format gives to torch's types.
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_MEMORY_FORMATS = {
    1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format,
}  # fmt: skip
_STRIDED = 7
_WORD = re.compile(r"[A-Za-z_]{0,32}|[A-Za-z, .>-]{0,200}")  # modes and such, and what an einsum sums over


class _Named(NamedTuple):
    """Stands for a value of the graph among the arguments of a node."""

    name: str


class _Step(NamedTuple):
    """A node of the graph, ready to run: its submodule, arguments, outputs, and the values that nothing needs later."""

    module: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]  # a name each, None for what nobody may ask for, a list for a list of tensors
    releases: tuple[str, ...]


class _Described(nn.Module):
    """Does what a graph describes, node by node. No source is made from it; torch.export traces this loop."""

    def __init__(self, like: Tensor, tensors: dict[str, Tensor], nodes: list[FileNode]) -> None:
        super().__init__()
        self.register_buffer("input_like", like)  # first, because tracing takes the input's dtype from the first tensor
        self.tensors = {name: f"tensor_{index}" for index, name in enumerate(tensors)}
        for name, buffer in self.tensors.items():
            self.register_buffer(buffer, tensors[name])
        for index, node in enumerate(nodes):
            self.add_module(f"file_node_{index}", node)
        self.steps: list[_Step] = []
        self.input = self.output = ""

    def forward(self, x: Tensor) -> Any:
        """The chosen output for a batch of inputs."""
        values: dict[str, Any] = {name: getattr(self, buffer) for name, buffer in self.tensors.items()}
        values[self.input] = x
        for step in self.steps:
            arguments = _filled(step.args, values)
            keywords = {name: _filled(argument, values) for name, argument in step.kwargs.items()}
            values.update(_named_outputs(step.outputs, getattr(self, step.module)(*arguments, **keywords)))
            for name in step.releases:
                values.pop(name, None)
        return values[self.output]


def _filled(argument: Any, values: dict[str, Any]) -> Any:
    if isinstance(argument, _Named):
        return values[argument.name]
    if isinstance(argument, (list, tuple)):
        return type(argument)(_filled(item, values) for item in argument)
    return argument


def _named_outputs(names: list[Any], result: Any) -> Iterator[tuple[str, Any]]:
    given = [result] if len(names) == 1 and isinstance(names[0], str) else result
    if len(names) == 1 and isinstance(names[0], list):
        given = [result]
    if len(given) != len(names):
        raise ValueError(f"a node makes {len(given)} values, and the file names {len(names)}")
    for name, value in zip(names, given):
        if isinstance(name, list):
            yield from _named_outputs_of_list(name, value)
        elif name is not None:
            yield name, value


def _named_outputs_of_list(names: list[str], values: Any) -> Iterator[tuple[str, Any]]:
    if len(values) != len(names):
        raise ValueError(f"a node makes a list of {len(values)} tensors, and the file names {len(names)}")
    return iter(zip(names, values))


# ---------------------------------------------------------------- from the document


def read_graph(
    path: str | os.PathLike[str],
    document: dict[str, Any],
    tensor: Callable[[str], Tensor],
    output: int | str | None,
    limits: Limits,
) -> FileModule:
    """The module that a file's ``graph_module`` describes.

    Args:
        path: of the file.
        document: parsed JSON.
        tensor: gives the weight or constant of a name.
        output: which one to take.
        limits: for the number of nodes.

    Raises:
        ValueError: the document is not what torch writes, its batch is fixed, or output names none of its outputs.
        UnsupportedOperation: it has several inputs, or operations that are not read.
    """
    graph, signature = document["graph"], document["signature"]
    limits.check_nodes(len(graph["nodes"]))
    stored, inputs = _inputs(graph, signature)
    if len(inputs) != 1:
        raise UnsupportedOperation(f"The model takes {len(inputs)} inputs; relu_regions walks models of one input.")
    dtype, shape = _input_meta(graph["tensor_values"][inputs[0]])
    chosen, logits, relevant = _output(graph, document, output)
    steps, nodes, labels = [], [], {}
    for index, (node, label, function, schema) in enumerate(_needed(relevant, chosen)):
        name = f"file_node_{index}"
        labels[name] = label
        args, kwargs = _arguments(node, schema)
        nodes.append(FileNode(counted(function, schema, limits)))
        steps.append(_Step(name, args, kwargs, list(map(_output_names, node["outputs"])), ()))
    used = {name for step in steps for name in _names((step.args, *step.kwargs.values()))} | {chosen}
    tensors = {name: tensor(stored[name]) for name in stored if name in used}
    module = _Described(torch.empty(0, dtype=dtype), tensors, nodes)
    module.steps, module.input, module.output = _with_releases(steps, chosen), inputs[0], chosen
    return FileModule(path, module.eval(), shape, labels, logits)


def _inputs(graph: dict[str, Any], signature: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The file's tensors by the name of the value that holds each, and the values that the caller gives."""
    stored, given = {}, []
    for spec in signature["input_specs"]:
        [(kind, content)] = spec.items()
        key = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}.get(
            kind
        )
        if key is not None:
            stored[_text(content["arg"]["name"])] = _text(content[key])
        elif kind == "user_input":
            given.append(_text(content["arg"].get("as_tensor", {}).get("name", "")))
        elif kind not in ("constant_input", "token"):
            raise UnsupportedOperation(f"The model has an input of the kind {kind[:50]!r}, which cannot be read.")
    return stored, given


def _input_meta(meta: dict[str, Any]) -> tuple[torch.dtype, tuple[int, ...]]:
    dtype, sizes = DTYPES[meta["dtype"]], meta["sizes"]
    if not dtype.is_floating_point:
        raise UnsupportedOperation("The model's input is no floating-point tensor.")
    if len(sizes) < 2 or "as_expr" not in sizes[0]:
        raise ValueError(
            "The exported program has a fixed batch size; export it with a dynamic first dimension: "
            "torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('N')},))."
        )
    if not all(type(size.get("as_int")) is int and size["as_int"] >= 0 for size in sizes[1:]):
        raise ValueError("The exported program leaves other sizes of its input free than that of the batch.")
    return dtype, tuple(size["as_int"] for size in sizes[1:])


def _output(
    graph: dict[str, Any], document: dict[str, Any], output: int | str | None
) -> tuple[str, bool, list[dict[str, Any]]]:
    """The name of the chosen value, whether what is before a softmax at the end of it is meant, and the nodes before.

    Nodes behind a value inside of the graph don't count: they may write into it.
    """
    specs = [spec["user_output"] for spec in document["signature"]["output_specs"] if "user_output" in spec]
    names = _output_paths(document["module_call_graph"], len(specs))
    logits = output == LOGITS and LOGITS not in names
    nodes: list[dict[str, Any]] = graph["nodes"]
    if isinstance(output, str) and output not in names:
        for count, node in enumerate(nodes, 1):
            if output in _made(node):
                return output, False, nodes[:count]
    position = output_position(names, len(specs), None if logits else output)
    if "as_tensor" not in specs[position]["arg"]:
        raise UnsupportedOperation("The model's output does not depend on its input.")
    return _text(specs[position]["arg"]["as_tensor"]["name"]), logits, nodes


def _output_paths(calls: list[dict[str, Any]], count: int) -> list[str]:
    """The paths of the outputs, as far as the file says how they are nested."""
    spec = (calls[0].get("signature") or {}).get("out_spec") if calls else None
    if not isinstance(spec, str) or len(spec) > 100_000:
        return []
    try:
        paths = [".".join(path) for path in _paths(json.loads(spec)[1])]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return []
    return paths if len(paths) == count else []


def _paths(spec: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The paths of the tensors: the keys of dictionaries, and positions in everything else."""
    if spec["type"] is None:
        yield ()
        return
    children = spec["children_spec"]
    keys: Any = json.loads(spec["context"]) if spec["type"] in _DICTIONARIES else range(len(children))
    for key, child in zip(keys, children, strict=True):
        for rest in _paths(child):
            yield (str(key), *rest)


_DICTIONARIES = ("builtins.dict", "collections.OrderedDict")


def _made(node: dict[str, Any]) -> set[str]:
    """The names of the values that a node makes."""
    return {name for names in map(_output_names, node["outputs"]) for name in _flat(names)}


class _Needed(NamedTuple):
    node: dict[str, Any]
    label: Label
    function: Callable[..., Any]
    schema: Any  # None for arithmetic on sizes


def _needed(nodes: list[dict[str, Any]], output: str) -> list[_Needed]:
    """The nodes that the output depends on, and those that change a tensor in place, in order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        target = _text(node["target"])
        if _made(node) & wanted or writes(target):
            label = _label(node)
            kept.append(_Needed(node, label, *operation_named(target, label.name or "the model itself")))
            wanted.update(_names([_argument(entry["arg"]) for entry in node["inputs"]]))
    return kept[::-1]


def _label(node: dict[str, Any]) -> Label:
    """The path and class of the module that the node belongs to, as far as the file says so."""
    last = str(node.get("metadata", {}).get("nn_module_stack", "")).split(";")[-1]
    path, kind = [*last.split(",", 2), "", ""][1:3]
    return Label(shown(path), shown(kind.rpartition(".")[2]))


def _arguments(node: dict[str, Any], schema: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A node's arguments by position and by name."""
    target = node["target"]
    given: dict[str, Any] = {}
    for entry in node["inputs"]:
        name = _text(entry["name"]) if schema is not None else str(len(given))
        if name in given:
            raise ValueError(f"a node of {target} has two arguments {name[:50]!r}")
        given[name] = _argument(entry["arg"])
    if schema is None:
        return tuple(given.values()), {}
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for place, argument in enumerate(schema.arguments):
        if argument.name in given and len(args) == place and not argument.kwarg_only:
            args.append(given.pop(argument.name))
        elif argument.name in given:
            kwargs[argument.name] = given.pop(argument.name)
    if given:
        raise ValueError(
            f"a node of {target} has an argument {next(iter(given))[:50]!r}, which the operation does not take"
        )
    return tuple(args), kwargs


# ---------------------------------------------------------------- arguments


def _argument(entry: dict[str, Any]) -> Any:
    """An argument as a plain number, a type of torch, a value by name, or a list of these."""
    [(kind, content)] = entry.items()
    if kind not in _ARGUMENTS:
        raise UnsupportedOperation(f"It has an argument of the kind {kind[:50]!r}, which cannot be read.")
    return _ARGUMENTS[kind](content)


def _listed(one: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda entries: [one(entry) for entry in _list(entries)]


def _list(entries: Any) -> list[Any]:
    if not isinstance(entries, list):
        raise ValueError(f"{str(entries)[:50]!r} is no list")
    return entries


def _int(number: Any) -> int:
    if type(number) is not int or not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{str(number)[:50]!r} is no whole number of 64 bits")
    return number


def _float(number: Any) -> float:
    if isinstance(number, str) and number in ("Infinity", "-Infinity", "NaN"):
        return float(number)
    if type(number) not in (int, float):
        raise ValueError(f"{str(number)[:50]!r} is no number")
    return float(number)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{str(value)[:50]!r} is neither true nor false")
    return value


def _word(text: Any) -> str:
    if not isinstance(text, str) or not _WORD.fullmatch(text):
        raise ValueError(f"{str(text)[:50]!r} is no word that an operation takes")
    return text


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{str(name)[:50]!r} is no name")
    return name


def _layout(number: int) -> torch.layout:
    if number != _STRIDED:
        raise UnsupportedOperation("It has tensors that are not strided, which cannot be read.")
    return torch.strided


def _symbolic(entry: dict[str, Any]) -> Any:
    [(kind, content)] = entry.items()
    return {"as_name": lambda name: _Named(_text(name)), "as_int": _int, "as_float": _float, "as_bool": _bool}[kind](
        content
    )


def _optional(entry: dict[str, Any]) -> Any:
    return None if "as_none" in entry else _Named(_text(entry["as_tensor"]["name"]))


def _tensor(entry: dict[str, Any]) -> _Named:
    return _Named(_text(entry["name"]))


_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda content: None, "as_tensor": _tensor, "as_tensors": _listed(_tensor),
    "as_optional_tensor": _optional, "as_optional_tensors": _listed(_optional), "as_int": _int,
    "as_ints": _listed(_int), "as_float": _float, "as_floats": _listed(_float), "as_bool": _bool,
    "as_bools": _listed(_bool), "as_string": _word, "as_sym_int": _symbolic, "as_sym_ints": _listed(_symbolic),
    "as_sym_float": _symbolic, "as_sym_floats": _listed(_symbolic), "as_sym_bool": _symbolic,
    "as_sym_bools": _listed(_symbolic), "as_scalar_type": DTYPES.__getitem__,
    "as_memory_format": _MEMORY_FORMATS.__getitem__, "as_layout": _layout,
    "as_device": lambda content: torch.device("cpu"),
}  # fmt: skip


def _output_names(entry: dict[str, Any]) -> Any:
    """The name of an output, a list of names, or None for what cannot be asked for."""
    value = _argument(entry)
    if isinstance(value, list):
        return [item.name for item in value]
    return value.name if isinstance(value, _Named) else None


def _flat(names: Any) -> Iterable[str]:
    return names if isinstance(names, list) else [names] if names is not None else []


def _names(argument: Any) -> Iterator[str]:
    if isinstance(argument, _Named):
        yield argument.name
    elif isinstance(argument, (list, tuple)):
        for item in argument:
            yield from _names(item)


def _with_releases(steps: list[_Step], output: str) -> list[_Step]:
    """The steps, each with the values that none after it needs."""
    seen, result = {output}, []
    for step in reversed(steps):
        used = set(_names((step.args, *step.kwargs.values()))) | {
            name for names in step.outputs for name in _flat(names)
        }
        result.append(step._replace(releases=tuple(used - seen)))
        seen |= used
    return result[::-1]
