"""Reading ``.pt2`` files without running anything that is in them.

torch.export.load unpickles, evaluates shape expressions as Python, and compiles source that holds names of the file.
Here a file is a description: which of the listed operations are applied, to which values, with which numbers. Only the
entries that say so are unpacked, the tensors are made from their bytes, and the module that does what is described is
traced like any other, so that shapes, types and names are torch's own.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.reading.exported_graphs import DTYPES, read_graph
from relu_regions.network.reading.foreign import FileModule, at_the_door
from relu_regions.network.reading.limits import Limits
from relu_regions.network.reading.zipped import Entries, parse_json, unzipped

__all__ = ["module_from_pt2"]

_MODEL = "models/model.json"
_PAYLOADS = {
    "data/weights/": "data/weights/model_weights_config.json",
    "data/constants/": "data/constants/model_constants_config.json",
}
_PAYLOAD = re.compile(r"(weight|tensor)_\d{1,9}")
_VERSION = 8  # of the format, written by torch from 2.7 on


def module_from_pt2(
    path: str | os.PathLike[str], output: int | str | None = None, limits: Limits | None = None
) -> FileModule:
    """The network that torch.export.save wrote to a ``.pt2`` file, on the CPU.

    Args:
        path: of the file.
        output: which output to take, by position or key, where there are several.
        limits: how much the file may ask for.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, was written by a torch whose files are pickles (before 2.8), is damaged, asks
            for more than the limits allow, or its batch size is fixed.
        UnsupportedOperation: it names operations that are not on the list of those that are read or run.
    """
    limits = limits or Limits()
    with at_the_door(path), _as_no_program(), unzipped(path, limits) as entries:
        root = _root(entries)
        document = parse_json("its graph", entries.read(f"{root}/{_MODEL}"), entries.budget)
        version = document["schema_version"]["major"]
        if version != _VERSION:
            raise ValueError(
                f"its format is of version {version}, and {_VERSION} is read; write it again with torch.export.save"
            )
        return read_graph(path, document["graph_module"], _Payloads(entries, root).tensor, output, limits)


@contextmanager
def _as_no_program() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"it is not a .pt2 file of torch.export.save, or is damaged: {error}") from None


def _root(entries: Entries) -> str:
    """The folder in the archive that everything lies in."""
    roots = [name.partition("/")[0] for name in entries if name.partition("/")[2] == _MODEL]
    if len(roots) != 1:
        raise ValueError(
            "it holds no program in the format of torch 2.8 and later; write it again with torch.export.save"
        )
    return roots[0]


class _Payloads:
    """The tensors of an archive, each made when it is asked for by name."""

    def __init__(self, entries: Entries, root: str) -> None:
        self._entries = entries
        self._root = root
        self._stored: dict[tuple[str, torch.dtype], Tensor] = {}
        self._configs: dict[str, dict[str, Any]] = {}
        byteorder = f"{root}/byteorder"
        if byteorder in entries and entries.read(byteorder) != b"little":
            raise ValueError("its numbers are not little-endian")
        for folder, name in _PAYLOADS.items():
            if f"{root}/{name}" in entries:
                config = parse_json(name, entries.read(f"{root}/{name}"), entries.budget)["config"]
                self._configs[folder] = dict(config.items())

    def tensor(self, name: str) -> Tensor:
        """The weight or constant of this name in the file."""
        for folder, config in self._configs.items():
            if name in config:
                return self._made(name, folder, config[name])
        raise ValueError(f"it has no tensor {name[:100]!r}")

    def _made(self, name: str, folder: str, payload: dict[str, Any]) -> Tensor:
        if payload["use_pickle"] is not False:
            raise ValueError(f"the tensor {name[:100]!r} is pickled, and pickles are not read")
        if not _PAYLOAD.fullmatch(payload["path_name"]):
            raise ValueError(f"the tensor {name[:100]!r} lies in {payload['path_name'][:100]!r}, where no tensors lie")
        meta = payload["tensor_meta"]
        dtype = DTYPES[meta["dtype"]]
        sizes, strides = ([_size(size) for size in meta[key]] for key in ("sizes", "strides"))
        offset = _size(meta["storage_offset"])
        if len(sizes) != len(strides) or len(sizes) > 32:
            raise ValueError(f"the tensor {name[:100]!r} has {len(sizes)} sizes and {len(strides)} strides")
        self._entries.budget.take_tensor(f"the tensor {name[:100]!r}", prod(sizes), dtype.itemsize)
        if 0 in sizes:
            return torch.empty(sizes, dtype=dtype)
        stored = self._storage(f"{self._root}/{folder}{payload['path_name']}", dtype)
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides))
        if last >= stored.numel():
            raise ValueError(f"the tensor {name[:100]!r} reaches to number {last}, and {stored.numel()} are stored")
        return stored.as_strided(sizes, strides, offset).clone(memory_format=torch.contiguous_format)

    def _storage(self, entry: str, dtype: torch.dtype) -> Tensor:
        if (entry, dtype) not in self._stored:
            content = self._entries.read(entry)
            if not content or len(content) % dtype.itemsize:
                raise ValueError(f"the {len(content)} bytes of {entry[:100]!r} are no numbers of {dtype}")
            self._stored[entry, dtype] = torch.frombuffer(content, dtype=dtype)
        return self._stored[entry, dtype]


def _size(size: Any) -> int:
    number = size["as_int"]
    if type(number) is not int or not 0 <= number < 1 << 63:
        raise ValueError(f"{str(number)[:100]} is no size of a tensor")
    return number
