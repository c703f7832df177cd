"""Valid files of every kind that is read, and seeded mutations of them: what `fuzz_files.py` reads.

A family has seeds (valid files by name) and a mutation. `FAMILIES` is the list; a new kind of file gets a family there.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MARKER = "planted_marker"
# What a name can be that someone chose to be misread: as Python, as a path, as JSON, as a format, or as nothing.
HOSTILE = [
    f"{MARKER}", f'{MARKER}"); print("', f"{MARKER}\nimport os", f"{{{MARKER}}}", f"{MARKER}'\\", f"../../{MARKER}",
    f"/{MARKER}", f"{MARKER}.__class__", f"__import__('os').system('touch {MARKER}')", f"{MARKER}\u202e\u0000\ud7ff",
    "",
    f"%s{MARKER}", f"lambda: {MARKER}", "self", "forward", "x" * 5000 + MARKER, "file_node_0", f"{MARKER};{MARKER},,",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63), 10**30, 0.5, 1e308]
VALUES = [
    None,
    True,
    [],
    {},
    [[]],
    *NUMBERS,
    *HOSTILE,
    [0] * 100,
    {"as_int": 2**40},
    {"as_name": "x"},
    json.loads("[" * 90 + "]" * 90),
]


@dataclass(frozen=True)
class Family:
    """A kind of file.

    Attributes:
        suffix: of its files.
        seeds: makes valid ones, by name.
        mutate: a mutation of one, drawn from the generator; others are given to splice with.
    """

    suffix: str
    seeds: Callable[[], dict[str, bytes]]
    mutate: Callable[[random.Random, bytes, list[bytes]], bytes]


# ---------------------------------------------------------------- bytes


def bytes_changed(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Truncated, spliced with another, with bits turned over, or with a piece repeated or cut out."""
    kind = chance.randrange(5)
    here, there = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    if kind == 0:
        return data[:there]
    if kind == 1:
        other = chance.choice(others)
        return data[:here] + other[chance.randrange(len(other) + 1) :]
    if kind == 2:
        changed = bytearray(data)
        for _ in range(chance.choice((1, 2, 8, 64))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)
    return data[:here] + (data[here:there] * 2 if kind == 3 else b"") + data[there:]


def zip_changed(chance: random.Random, data: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The archive with its entries changed, and packed in an unusual way now and then."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    packed = io.BytesIO()
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        if chance.random() < 0.1:
            name = chance.choice([*entries, f"../{MARKER}", f"/{MARKER}", "a/../../b", chance.choice(HOSTILE)])
            archive.NameToInfo.pop(name, None)  # or a warning for each
            archive.writestr(name, chance.choice([b"", b"{}", bytes(1 << 20), *list(entries.values())[:5]]))
    result = bytearray(packed.getvalue())
    if chance.random() < 0.1:
        # Sizes in the directory that lie.
        at = result.rfind(b"PK\x01\x02")
        struct.pack_into("<I", result, at + chance.choice((20, 24, 42)), chance.choice((0, 1, 2**31, 2**32 - 1)))
    return bytes(result)


# ---------------------------------------------------------------- JSON


def places(document: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every list or object in a document with each of its positions or keys."""
    found = [] if found is None else found
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        found.append((document, key))
        places(value, found)
    return found


def json_changed(chance: random.Random, text: bytes) -> bytes:
    """A few values of a document replaced, left out, doubled or exchanged, or a name replaced wherever it stands."""
    document = json.loads(text)
    for _ in range(chance.choice((1, 1, 2, 4))):
        (parent, key), (other, other_key) = (chance.choice(places(document)) for _ in range(2))
        kind = chance.randrange(6)
        if kind == 0:
            parent[key] = chance.choice(VALUES)
        elif kind == 1:
            del parent[key]
        elif kind == 2 and isinstance(parent, list):
            parent.insert(chance.randrange(len(parent) + 1), parent[key])
        elif kind == 3:
            parent[key] = other[other_key] if not isinstance(other[other_key], (dict, list)) else parent[key]
        elif kind == 4 and isinstance(parent[key], int):
            parent[key] = chance.choice(NUMBERS)
        else:
            names = [p[k] for p, k in places(document) if isinstance(p[k], str) and p[k].isascii()]
            name, hostile = json.dumps(chance.choice(names)), json.dumps(chance.choice(HOSTILE))
            document = json.loads(json.dumps(document).replace(name, hostile))
        if not places(document):
            break
    return json.dumps(document).encode()


# ---------------------------------------------------------------- .pt2


class Sizes(nn.Module):
    """Sizes computed in the graph, parts, and constants."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Two outputs by key."""
        y = self.body(x)
        y = y.view(y.size(0), -1) + torch.arange(8) * 0.5
        first, second = y.chunk(2, 1)
        return {"logits": self.head(torch.maximum(first, second)), "features": y}


def pt2_seeds() -> dict[str, bytes]:
    """Two small networks, exported."""
    torch.manual_seed(0)
    seeds = {}
    dense = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for name, model, shape in (("dense", dense, (3,)), ("sizes", Sizes(), (1, 4, 4))):
        program = torch.export.export(
            model.eval(), (torch.randn(3, *shape),), dynamic_shapes=({0: torch.export.Dim("N")},)
        )
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        seeds[name] = buffer.getvalue()
    return seeds


_DANGEROUS = [
    "torch.ops.aten.from_file.default", "torch.ops.aten.full.default", "torch.ops.aten.rand.default", "torch.load",
    "torch.os.system", "torch.ops.aten.repeat.default", "torch.ops.aten.expand.default",
    "torch.ops.aten.empty.memory_format", "_operator.pow", "_operator.mul", "torch.ops.aten.constant_pad_nd.default",
    "torch.ops.aten.as_strided.default", "torch.ops.aten.set_.source_Tensor", "torch.ops.aten.resize_.default",
    "torch.ops.aten.save.default", "torch.ops.higher_order.cond", "torch.ops.aten.arange.default",
    "torch.ops.aten.relu_.default", "torch.ops.aten.split.Tensor", "torch.ops.aten.unbind.int",
    "torch.ops.aten.outer.default",
]  # fmt: skip


def pt2_mutate(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One change of the graph, of the tables of tensors, of the archive, or of its bytes."""
    kind = chance.randrange(10)
    if kind == 0:
        return bytes_changed(chance, data, others)

    def change(entries: dict[str, bytes]) -> None:
        model = next(name for name in entries if name.endswith("models/model.json"))
        if kind == 1:
            name = chance.choice(list(entries))
            entries[chance.choice([name, name + "x", f"../{name}", name.replace("model", MARKER)])] = entries.pop(name)
        elif kind == 2:
            name = chance.choice(list(entries))
            entries[name] = bytes_changed(chance, entries[name] or b"0", list(entries.values()))
        elif kind in (3, 4):
            name = chance.choice([name for name in entries if name.endswith("_config.json")])
            entries[name] = json_changed(chance, entries[name])
        elif kind in (5, 6):
            document = json.loads(entries[model])
            nodes = document["graph_module"]["graph"]["nodes"]
            schemas = torch._C._jit_get_all_schemas()
            for node in chance.sample(nodes, min(len(nodes), chance.choice((1, 1, 2)))):
                schema = chance.choice(schemas)
                drawn = f"torch.ops.{schema.name.replace('::', '.')}.{schema.overload_name or 'default'}"
                node["target"] = chance.choice([chance.choice(_DANGEROUS), drawn, chance.choice(nodes)["target"]])
                for place, argument in enumerate(schema.arguments[: len(node["inputs"])]):
                    if chance.random() < 0.7:
                        node["inputs"][place]["name"] = argument.name
                if chance.random() < 0.3:
                    node["inputs"] = [entry for entry in node["inputs"] if "as_tensor" not in entry["arg"]]
            entries[model] = json.dumps(document).encode()
        else:
            entries[model] = json_changed(chance, entries[model])

    return zip_changed(chance, data, change)


# ---------------------------------------------------------------- .npz and .npy


def array_seeds() -> dict[str, bytes]:
    """Arrays alone, packed, and compressed."""
    seeds = {}
    x = np.arange(12.0).reshape(4, 3)
    for name, save in (("npz", np.savez), ("compressed", np.savez_compressed)):
        buffer = io.BytesIO()
        save(buffer, x=x, d=x + 1)
        seeds[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, x)
    seeds["npy"] = buffer.getvalue()
    return seeds


def header_changed(chance: random.Random, content: bytes) -> bytes:
    """The header of an array with something else in it."""
    rows, columns = chance.choice(NUMBERS), chance.choice(NUMBERS)
    kind = chance.choice(["|O", "|V0", "<U1000", "<f4", ">f8", "<c16", MARKER])
    text = chance.choice(
        [
            f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns})}}",
            f"{{'descr': {kind!r}, 'fortran_order': 1, 'shape': (4, 3)}}",
            chance.choice(HOSTILE), "(" * chance.choice((10, 300, 5000)), "{'descr': [('x', '<f8', (2**40,))]}",
        ]
    ).encode("latin1", "replace")[:60000]  # fmt: skip
    return (
        b"\x93NUMPY" + bytes([chance.choice((1, 1, 2, 3, 9)), 0]) + struct.pack("<H", len(text)) + text + content[-96:]
    )


def array_mutate(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One change of a header, of the archive, or of the bytes."""
    if chance.random() < 0.3:
        return bytes_changed(chance, data, others)
    if not data.startswith(b"PK"):
        return header_changed(chance, data)

    def change(entries: dict[str, bytes]) -> None:
        name = chance.choice(list(entries))
        content = entries.pop(name)
        name = chance.choice([name, name, chance.choice(HOSTILE) + ".npy"])
        bomb = content[:-96] + bytes(chance.choice((1 << 20, 80 << 20)))
        entries[name] = chance.choice([header_changed(chance, content), bytes_changed(chance, content, others), bomb])

    return zip_changed(chance, data, change)


def families() -> dict[str, Family]:
    """Every kind of file that can be read with what is installed."""
    found = {
        "pt2": Family(".pt2", pt2_seeds, pt2_mutate),
        "npz": Family(".npz", array_seeds, array_mutate),
    }
    try:
        from onnx_mutants import onnx_mutate, onnx_seeds
    except ImportError:
        return found
    return {"onnx": Family(".onnx", onnx_seeds, onnx_mutate), **found}


def read(path: Path) -> None:
    """Read a file as a user would, and use what was read once."""
    import relu_regions as rr
    from relu_regions.apps.array_files import array_named

    if path.suffix == ".npz":
        array_named(path, "x")
        return
    if path.suffix == ".onnx":
        network = rr.Network.from_onnx(path)
    else:
        network = rr.Network.from_exported(path, None if b"features" not in path.read_bytes() else 0)
    network.describe()
    network(torch.zeros(2, *network.input_shape, dtype=torch.float64))
