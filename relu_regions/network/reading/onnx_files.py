"""ONNX files into memory: counted before they are parsed, with external data from the file's own folder only."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from relu_regions.network.reading.foreign import shown
from relu_regions.network.reading.limits import Budget, Limits

__all__ = ["Tensors", "parse_model"]

# What an empty message takes in memory.
_BYTES_OF_A_MESSAGE = 160
# Fields of a node and its attributes, which are looked at one by one before the file is parsed.
_FIELDS_OF_A_NODE = 16


def parse_model(path: Path, limits: Limits) -> tuple[onnx.ModelProto, Budget]:
    """The message in a file, without its external data, and what it may still unpack.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger than the limits say, on disk or in memory, or is no message of onnx.
    """
    limits.check_file(path.stat().st_size)
    data = path.read_bytes()
    budget = Budget(limits, len(data))
    budget.take_bytes("its messages", _BYTES_OF_A_MESSAGE * _count_messages(data, limits))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own, which it does not export under one name
        raise ValueError(f"{path} is not a valid ONNX model: {error}") from None
    if not model.HasField("graph"):
        raise ValueError(f"{path} is not a valid ONNX model: it has no graph")
    limits.check_nodes(len(model.graph.node))
    return model, budget


# ---------------------------------------------------------------- before parsing


def _count_messages(data: bytes, limits: Limits) -> int:
    """How many messages the bytes hold, as protobuf's parser would see them.

    Raises:
        ValueError: the bytes are no message of onnx, or hold more fields than the largest graph allowed.
    """
    most = _FIELDS_OF_A_NODE * limits.nodes + 100_000
    fields = messages = 0
    waiting: list[tuple[int, int, Any, int]] = [(0, len(data), onnx.ModelProto.DESCRIPTOR, 0)]
    kinds: dict[Any, dict[int, Any]] = {}
    while waiting:
        position, end, kind, depth = waiting.pop()
        messages += 1
        if depth > limits.depth:
            raise ValueError(f"its messages are nested more than {limits.depth} deep")
        inner = kinds.setdefault(
            kind, {number: field.message_type for number, field in kind.fields_by_number.items() if field.message_type}
        )
        while position < end:
            fields += 1
            if fields > most:
                raise ValueError(
                    f"it has more than {most:,} fields; raise limits=relu_regions.Limits(nodes=...) if you trust the "
                    "file"
                )
            tag, position = _varint(data, position, end)
            start, position = _skip(data, position, end, tag & 7)
            if tag & 7 == 2 and tag >> 3 in inner:
                waiting.append((start, position, inner[tag >> 3], depth + 1))
    return messages


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError("it is not a valid ONNX model: a number in it does not end")


def _skip(data: bytes, position: int, end: int, wire_type: int) -> tuple[int, int]:
    """Where the content of a field begins and ends."""
    if wire_type == 0:
        return position, _varint(data, position, end)[1]
    if wire_type == 2:
        length, position = _varint(data, position, end)
    else:
        length = {1: 8, 5: 4}.get(wire_type, end)
    if position + length > end:
        raise ValueError("it is not a valid ONNX model: a field in it reaches beyond its end")
    return position, position + length


# ---------------------------------------------------------------- tensors

_ITEMSIZES: dict[int, int] = {
    TensorProto.FLOAT: 4, TensorProto.UINT8: 1, TensorProto.INT8: 1, TensorProto.UINT16: 2, TensorProto.INT16: 2,
    TensorProto.INT32: 4, TensorProto.INT64: 8, TensorProto.BOOL: 1, TensorProto.FLOAT16: 2, TensorProto.DOUBLE: 8,
    TensorProto.UINT32: 4, TensorProto.UINT64: 8, TensorProto.BFLOAT16: 2,
}  # fmt: skip
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


class Tensors:
    """The tensors of a file, each copied with its numbers and a name of ours when it is asked for."""

    def __init__(self, path: Path, budget: Budget) -> None:
        self._folder = path.parent.resolve()
        self.budget = budget
        self._limits = budget.limits
        self._file_bytes = budget.file_bytes
        self.bytes = 0

    def copy(self, tensor: TensorProto, name: str) -> TensorProto:
        """The same numbers in a tensor of this name that holds nothing else.

        Raises:
            ValueError: its shape contradicts its numbers, its type is no number, its external data cannot be read or
                lies outside of the file's folder, or there is too much of it.
        """
        what = f"the tensor {shown(tensor.name)!r}"
        itemsize = _ITEMSIZES.get(tensor.data_type)
        if itemsize is None:
            raise ValueError(f"{what} is of the type {tensor.data_type}, which holds no numbers that can be read")
        if min(tensor.dims, default=0) < 0 or len(tensor.dims) > 32:
            raise ValueError(f"{what} has the shape {list(tensor.dims)[:33]}")
        elements = prod(tensor.dims)
        if tensor.data_location == TensorProto.EXTERNAL:
            self._file_bytes += elements * itemsize
            self._limits.check_file(self._file_bytes)
        self.budget.take_tensor(what, elements, 0 if tensor.data_location == TensorProto.EXTERNAL else itemsize)
        self.bytes += elements * itemsize
        copy = TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
        if tensor.data_location == TensorProto.EXTERNAL:
            try:
                copy.raw_data = self._external(tensor, what, elements * itemsize)
            except OSError as error:  # whose path is the file's
                raise ValueError(f"{what} has external data that cannot be read: {error.strerror}") from None
        elif tensor.HasField("raw_data"):
            copy.raw_data = tensor.raw_data
        else:
            for typed in _TYPED:
                getattr(copy, typed).extend(getattr(tensor, typed))
        if copy.HasField("raw_data") and len(copy.raw_data) != elements * itemsize:
            raise ValueError(
                f"{what} of shape {list(tensor.dims)} takes {elements * itemsize} bytes, not {len(copy.raw_data)}"
            )
        # Of numbers that lie one by one, to_array knows how many belong to the shape; it raises where they do not fit.
        return copy if copy.HasField("raw_data") else numpy_helper.from_array(numpy_helper.to_array(copy), name)

    def _external(self, tensor: TensorProto, what: str, size: int) -> bytes:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if not location or "\0" in location or "\\" in location or ":" in location:
            raise ValueError(
                f"{what} has external data at {shown(location)!r}, which is no path within the file's folder"
            )
        place = (self._folder / location).resolve()
        if Path(location).is_absolute() or not place.is_relative_to(self._folder):
            raise ValueError(f"{what} has external data at {shown(location)!r}, outside of the file's folder")
        if not place.is_file():
            raise ValueError(f"{what} has external data at {shown(location)!r}, where there is no file")
        offset, length = (int(entries.get(key) or default) for key, default in (("offset", 0), ("length", size)))
        if offset < 0 or length != size or offset + size > place.stat().st_size:
            raise ValueError(
                f"{what} takes {size} bytes, and {length} from {offset} on do not lie in {shown(location)!r}"
            )
        with place.open("rb") as source:
            source.seek(offset, os.SEEK_SET)
            content: bytes = source.read(size)
            return content
