"""Reading ``.pt2`` files without running anything that is in them.

torch.export.load unpickles the example inputs (and weights that ask for it) and hands shape expressions to sympy,
which evaluates them as Python. A file from elsewhere could so run code of its choice. Here the file is checked
first, and loaded from a copy in memory that holds only what was checked; the example inputs, which are not needed,
are left out.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch.export import ExportedProgram

__all__ = ["load_program"]

_MODEL = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_EXAMPLE_INPUTS = "data/sample_inputs/model.pt"
_HARMLESS = re.compile(
    r"models/model\.json|archive_format|archive_version|byteorder|\.data/\w+|extra/.*"
    r"|data/(weights|constants)/(weight_\d+|tensor_\d+|model_(weights|constants)_config\.json)"
)
_OPERATION = re.compile(
    r"torch\.ops\.\w+\.\w+\.\w+|torch\.ops\.higher_order\.\w+|torch\.sym_\w+|_operator\.\w+|math\.\w+"
)
_SYMBOL = re.compile(r"[suz]\w*\d+")
_EXPRESSION = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop, ast.Load,
    ast.Name, ast.Call, ast.keyword, ast.Constant,
)  # fmt: skip


def load_program(path: str | os.PathLike[str]) -> ExportedProgram:
    """The program that torch.export.save wrote to a ``.pt2`` file, with no pickle loaded and no code evaluated.

    Args:
        path: of the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, was written by a torch whose files are pickles (before 2.8), or holds what
            could run code; the text says what.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a .pt2 file of torch.export.save: {error}") from None
    if _MODEL not in entries:
        raise ValueError(
            f"{path} holds no program in the format of torch 2.8 and later; write it again with torch.export.save"
        )
    entries.pop(_EXAMPLE_INPUTS, None)
    for reason in _dangers(entries):
        raise ValueError(f"{path} is refused, because loading it could run code: {reason}")
    try:
        return torch.export.load(_copy(entries))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} cannot be loaded ({type(error).__name__}: {reason})") from error


def _copy(entries: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**entries, _EXAMPLE_INPUTS: b""}.items():
            archive.writestr(f"model/{name}", content)
    buffer.seek(0)
    return buffer


def _dangers(entries: dict[str, bytes]) -> Iterator[str]:
    for name in entries:
        if not _HARMLESS.fullmatch(name):
            yield f"it holds {name!r}, which is neither weights nor a graph"
    for name in _CONFIGS:
        for tensor, payload in json.loads(entries.get(name, b'{"config": {}}'))["config"].items():
            if payload.get("use_pickle") is not False:
                yield f"the tensor {tensor!r} is pickled"
    for key, text in _strings(json.loads(entries[_MODEL])):
        if key == "expr_str" and not _is_arithmetic(text):
            yield f"the shape expression {text!r} is not plain arithmetic"
        if key == "target" and not _OPERATION.fullmatch(text):
            yield f"{text!r} is no operation of torch"
        if key in ("in_spec", "out_spec") and ("__enum__" in text or "default_factory" in text):
            yield f"the structure {text!r} imports a module"


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a JSON document, with the key that it stands under."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _strings(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value, key)
    elif isinstance(node, str):
        yield key, node


def _is_arithmetic(expression: str) -> bool:
    """Whether sympy would build it from symbols, numbers and calls by plain name, its strings names of symbols."""
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _EXPRESSION) and _is_plain(node) for node in nodes)


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        # Functions of sympy and of torch's shapes begin with a capital; of Python's builtins only exceptions do.
        return isinstance(node.func, ast.Name) and node.func.id[0].isupper()
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _SYMBOL.fullmatch(node.value) is not None
    return not (isinstance(node, ast.Name) and node.id.startswith("_"))
