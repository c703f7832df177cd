"""What the package promises by name, as text. `python -m tests.public_api` writes it to public_api.txt."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef

import relu_regions

__all__ = ["SNAPSHOT", "public_api"]

SNAPSHOT = Path(__file__).with_suffix(".txt")
# The rest of what backends hands on is for other rooms of the package.
DOORS = {"backends": ["use"], "bounds": None, "directions": None, "plot": None, "rational": None}


def public_api() -> str:
    """Every public name of the package and of its doors, with signatures, members of classes and their types."""
    lines = list(_of_module("relu_regions", relu_regions, None))
    for door, names in DOORS.items():
        lines += _of_module(f"relu_regions.{door}", getattr(relu_regions, door), names)
    return "\n".join(lines) + "\n"


def _of_module(name: str, module: ModuleType, names: list[str] | None) -> Iterator[str]:
    yield f"{name}:"
    for public in sorted(module.__all__ if names is None else names):
        thing = getattr(module, public)
        if isinstance(thing, ModuleType):
            yield f"    module {public}"
        elif inspect.isclass(thing):
            yield from _of_class(public, thing)
        elif callable(thing):
            yield from _call(f"    def {public}", thing)
        else:
            yield f"    {public}: {type(thing).__name__}"
    yield ""


def _of_class(name: str, cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"    class {name}({bases})" if bases else f"    class {name}"
    own = [kind for kind in cls.__mro__ if kind.__module__.startswith("relu_regions")]
    if any("__init__" in vars(kind) for kind in own):
        yield from _call("        def __init__", cls.__init__)  # type: ignore[misc]
    types = {key: text for kind in reversed(own) for key, text in inspect.get_annotations(kind).items()}
    for key in sorted({*types, *(key for kind in own for key in vars(kind))}):
        if not key.startswith("_"):
            yield from _member(key, inspect.getattr_static(cls, key, None), types.get(key))


def _member(name: str, thing: Any, kind: Any) -> Iterator[str]:
    if isinstance(thing, (classmethod, staticmethod)):
        yield from _call(f"        {type(thing).__name__} {name}", thing.__func__)
    elif isinstance(thing, (property, cached_property)):
        asked = thing.fget if isinstance(thing, property) else thing.func
        yield f"        property {name}: {_text(inspect.signature(asked).return_annotation)}"
    elif inspect.isfunction(thing):
        yield from _call(f"        def {name}", thing)
    else:
        yield f"        {name}: {_text(kind)}"


def _call(start: str, function: Any) -> Iterator[str]:
    """The signature, one parameter a line, so that a changed one shows as such."""
    signature = inspect.signature(function)
    named = [each.replace(annotation=_text(each.annotation)) for each in signature.parameters.values()]
    indent = " " * (len(start) - len(start.lstrip()) + 4)
    signature = signature.replace(parameters=named, return_annotation=_text(signature.return_annotation))
    whole = f"{start}{signature}"
    if len(whole) <= 120:
        yield whole
        return
    yield f"{start}("
    for each, kind in _with_marks(named):
        yield f"{indent}{each}{kind}"
    yield f"{indent[:-4]}) -> {signature.return_annotation}"


def _with_marks(parameters: list[inspect.Parameter]) -> Iterator[tuple[str, str]]:
    """The parameters, and the star after which they are given by name alone."""
    starred = False
    for each in parameters:
        if each.kind is each.VAR_POSITIONAL:
            starred = True
        elif each.kind is each.KEYWORD_ONLY and not starred:
            starred = True
            yield "*", ","
        yield str(each), ","


class _Text(str):
    """An annotation as it is written: inspect would put it in quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _text(annotation: Any) -> Any:
    if annotation in (inspect.Parameter.empty, None):
        return annotation
    if isinstance(annotation, ForwardRef):  # as a NamedTuple keeps its annotations
        return _Text(annotation.__forward_arg__)
    return _Text(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api(), encoding="utf-8")
    print(f"{SNAPSHOT.name} is written; what changed in it needs a line in CHANGELOG.md")
