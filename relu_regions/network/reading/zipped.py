"""Entries of zip files (.pt2, .npz), counted before they are unpacked into memory; nothing is written to disk."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relu_regions.network.reading.limits import Budget, Limits

__all__ = ["Entries", "parse_json", "unzipped"]

# The directory of an archive is read as a whole, and takes about ten times its size in memory.
_DIRECTORY_BYTES = 16 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK = 1 << 20


class _Source(io.FileIO):
    """A file that refuses to be read by more at once than the largest directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES:
            raise ValueError(f"its directory has {size:,} bytes, more than the {_DIRECTORY_BYTES:,} that are read")
        return super().read(-1 if size is None else size)


class Entries:
    """The entries of an open archive; each is unpacked when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile, budget: Budget) -> None:
        self._archive = archive
        self.budget = budget
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            if info.filename in self._infos:
                raise ValueError(f"it has several entries of the name {info.filename[:100]!r}")
            self._infos[info.filename] = info

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def read(self, name: str) -> bytearray:
        """The content of an entry.

        Raises:
            ValueError: there is none of this name, it is packed in another way than zip's own, or is too large.
            zipfile.BadZipFile, zlib.error, EOFError: it is damaged.
        """
        info = self._infos.get(name)
        if info is None:
            raise ValueError(f"it has no entry {name[:100]!r}")
        if info.compress_type not in _METHODS or info.flag_bits & 0x1:
            raise ValueError(f"its entry {name[:100]!r} is encrypted or not packed as zip files are")
        self.budget.take_bytes(f"the entry {name[:100]!r}", info.file_size)
        content = bytearray()
        with self._archive.open(info) as entry:
            while chunk := entry.read(_CHUNK):
                content += chunk
        if len(content) != info.file_size:
            raise ValueError(f"its entry {name[:100]!r} has {len(content)} bytes, but says {info.file_size}")
        return content


@contextmanager
def unzipped(path: str | os.PathLike[str], limits: Limits) -> Iterator[Entries]:
    """The entries of a zip file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger than the limits say, its directory is, or a name comes twice.
        zipfile.BadZipFile: it is no zip file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError("it is no ordinary file")
    with _Source(path) as source:
        budget = Budget(limits, os.fstat(source.fileno()).st_size)
        with zipfile.ZipFile(source) as archive:
            yield Entries(archive, budget)


# ---------------------------------------------------------------- JSON

# A string that does not end is taken to the end, so that each byte is looked at once.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_MARKS = re.compile(rb"[][{},]")
# A list, an object, or a member of one, in memory.
_BYTES_OF_A_MARK = 100


def parse_json(what: str, text: bytearray, budget: Budget) -> Any:
    """A JSON document, once its depth and its size in memory are known.

    Raises:
        ValueError: it is no JSON in UTF-8, is nested too deep, or takes more memory than its file may.
    """
    depth = 0
    for marks, mark in enumerate(_MARKS.finditer(_STRINGS.sub(b"", text)), 1):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(mark[0], 0)
        if depth > budget.limits.depth:
            raise ValueError(
                f"{what} is nested more than {budget.limits.depth} deep; "
                "raise it with limits=relu_regions.Limits(depth=...) if you trust the file"
            )
        if not marks % 4096:
            budget.take_bytes(what, 4096 * _BYTES_OF_A_MARK)
    return json.loads(text.decode("utf-8"))
