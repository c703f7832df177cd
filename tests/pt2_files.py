"""Ordinary and changed .pt2 files for the tests that read them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["altered", "exported", "node", "pickled", "saved", "with_graph"]


def exported(model: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    example = (torch.randn(3, *shape),)
    return torch.export.export(model.eval(), example, dynamic_shapes=({0: torch.export.Dim("N")},))


def saved(model: nn.Module, shape: tuple[int, ...], path: Path) -> Path:
    torch.export.save(exported(model, shape), path)
    return path


def altered(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def with_graph(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with its graph changed, as parsed JSON."""

    def changed(name: str, content: bytes) -> bytes:
        if not name.endswith("model.json"):
            return content
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return altered(path, changed)


def node(document: dict[str, Any], operation: str) -> dict[str, Any]:
    return next(n for n in document["graph_module"]["graph"]["nodes"] if operation in n["target"])


def pickled(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()
