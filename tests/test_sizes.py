"""How large files and functions may be, so that each can be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "relu_regions").rglob("*.py"))
FILE_LINES, FUNCTION_LINES, PARAMETERS, LOOP_PARAMETERS = 400, 50, 8, 14

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def lines_of_code(function: Function) -> int:
    """From the first line of the signature to the last of the body, without docstrings, comments and empty lines."""
    told: set[int] = set()
    for node in ast.walk(function):
        documented = isinstance(node, (Function, ast.ClassDef)) and ast.get_docstring(node) is not None
        if documented:
            told.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code = {node.lineno for node in ast.walk(function) if isinstance(node, (ast.stmt, ast.expr, ast.arg))} - told
    return len(code)


def compiled(function: Function) -> bool:
    return any("jit" in ast.unparse(decorator) for decorator in function.decorator_list)


def parameters(function: Function) -> int:
    """What a caller gives by place or must give; options that a public function takes by name are not counted."""
    given = function.args.posonlyargs + function.args.args
    count = len(given) - (bool(given) and given[0].arg in ("self", "cls"))
    return count if not function.name.startswith("_") else count + len(function.args.kwonlyargs)


@pytest.mark.parametrize("limit", ["lines of a file", "lines of a function", "parameters", "parameters of loops"])
def test_nothing_is_too_large(limit: str) -> None:
    large = {}
    for path in FILES:
        name = str(path.relative_to(ROOT))
        if limit == "lines of a file":
            count = len(path.read_text().splitlines())
            if count > FILE_LINES:
                large[name] = count
            continue
        for function in functions(path):
            if limit == "lines of a function":
                count, most = lines_of_code(function), FUNCTION_LINES
            else:
                count, most = parameters(function), LOOP_PARAMETERS if compiled(function) else PARAMETERS
                if compiled(function) != (limit == "parameters of loops"):
                    continue
            if count > most:
                large[f"{name}:{function.lineno} {function.name}"] = count
    assert not large, f"too large: {large}"


def test_what_is_too_large_is_found() -> None:
    body = "\n".join(f"    x{i} = {i}" for i in range(51))
    tree = ast.parse(f'def f(a, b, *, c):\n    """Told."""\n{body}\n')
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    assert lines_of_code(function) == 52 and parameters(function) == 2 and not compiled(function)
