"""What a model returns: the name of each tensor in it, and which one is meant."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["output_names", "output_position"]


def output_names(spec: Any) -> tuple[str, ...]:
    """The paths of the tensors in what a model returns, in torch's order.

    Keys, fields and positions are joined by dots: ``out``, ``aux.0``. A tensor that is all of it has the path ``""``.

    Args:
        spec: how it is nested, as torch's pytrees have it; None if that is not known.
    """
    return tuple(".".join(path) for path in _paths(spec)) if spec is not None else ()


def _paths(spec: Any) -> Iterator[tuple[str, ...]]:
    if spec.is_leaf():
        yield ()
        return
    children = spec.children()
    for key, child in zip(_keys(spec, len(children)), children):
        for rest in _paths(child):
            yield (key, *rest)


def _keys(spec: Any, count: int) -> list[str]:
    """The names of the parts of a container: keys, fields, or positions."""
    keys: Any = range(count)
    if spec.type in (dict, OrderedDict):
        keys = spec.context
    elif spec.type is defaultdict:
        keys = spec.context[1]
    elif hasattr(spec.context, "_fields"):
        keys = spec.context._fields
    elif dataclasses.is_dataclass(spec.type) and isinstance(spec.context, (list, tuple)) and spec.context:
        keys = spec.context[0]
    listed = list(keys) if isinstance(keys, (list, tuple, range)) else []
    return list(map(str, listed if len(listed) == count else range(count)))


def output_position(names: Sequence[str], count: int, output: int | str | None) -> int:
    """Which of a model's outputs is meant, by position or path.

    Raises:
        ValueError: there are several and none is named, or the name is not among them, or several have it.
    """
    if output is None and count == 1:
        return 0
    if isinstance(output, str) and (found := list(names).count(output)):
        if found > 1:
            raise ValueError(
                f"The model returns {found} outputs named {output!r} (of {list(names)}); give output= a position, 0 to "
                f"{count - 1}."
            )
        return list(names).index(output)
    if isinstance(output, int) and -count <= output < count:
        return output % count
    known = f"names {list(names)}" if any(names) else f"positions 0 to {count - 1}"
    raise ValueError(
        f"The model returns {count} outputs ({known}), and output={output!r} does not name one of them; give output= a "
        "position or a name of these."
    )
