"""How much a file may ask for: checked before the work is done, and for a caller to raise."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What reading a file may cost. A file that asks for more is refused with a ValueError.

    ``Network.from_exported`` and ``Network.from_onnx`` take one as ``limits=``. Raise a field for a file that you
    trust: ``Limits(file_bytes=8 << 30, unpacked_bytes=8 << 30)``.

    Attributes:
        file_bytes: size on disk; of ONNX, all external data included.
        unpacked_bytes: what all entries and tensors that are needed take, unpacked.
        unpacked_ratio: how many times its own size a file may unpack to, where that is more than ``spare_bytes``.
        spare_bytes: what may always be unpacked, and what folded constants may take beyond the file's own tensors.
        tensor_elements: numbers in one tensor of the file.
        total_elements: numbers in all tensors of the file that are needed.
        value_elements: numbers in one value of the network for one point of its input; of what is sorted, also those
            that all results are compared with: a million where 1,000 numbers are put in order.
        values_elements: numbers in all values of the network for one point of its input, or in the largest of them for
            a batch of the size that the file is made for.
        nodes: operations in the graph, also as it is traced, where recurrent layers are written out step by step.
        depth: how deep JSON, and messages of ONNX, may be nested.
    """

    file_bytes: int = 2 << 30
    unpacked_bytes: int = 4 << 30
    unpacked_ratio: int = 20
    spare_bytes: int = 64 << 20
    tensor_elements: int = 1 << 28
    total_elements: int = 1 << 30
    value_elements: int = 1 << 24
    values_elements: int = 1 << 28
    nodes: int = 1_000_000
    depth: int = 100

    def unpacked(self, file_bytes: int) -> int:
        """How many bytes a file of this size may unpack to."""
        return min(self.unpacked_bytes, max(self.spare_bytes, self.unpacked_ratio * file_bytes))

    def check_file(self, file_bytes: int) -> None:
        """Refuse a file by its size.

        Raises:
            ValueError: it is larger than ``file_bytes``.
        """
        _check("the file", file_bytes, "bytes", "file_bytes", self.file_bytes)

    def check_nodes(self, nodes: int) -> None:
        """Refuse a graph by the number of its nodes.

        Raises:
            ValueError: it has more than ``nodes``.
        """
        _check("the graph", nodes, "nodes", "nodes", self.nodes)

    def check_value(self, what: str, elements: int) -> None:
        """Refuse a value of the network by its size for one point.

        Raises:
            ValueError: it has more than ``value_elements``.
        """
        _check(what, elements, "numbers for one point", "value_elements", self.value_elements)

    def check_values(self, elements: int) -> None:
        """Refuse a network by the sizes of all its values for one point together.

        Raises:
            ValueError: they have more than ``values_elements``.
        """
        _check("all values together", elements, "numbers for one point", "values_elements", self.values_elements)

    def check_batch(self, rows: int, widest: int) -> None:
        """Refuse the batch of a file's own size, with which the network is compared once.

        Args:
            rows: points in it.
            widest: numbers in the largest value of the network for one point.

        Raises:
            ValueError: for all points together that value has more than ``values_elements``.
        """
        what = f"its largest value, for the batch of {rows:,} that it is made for,"
        _check(what, rows * widest, "numbers", "values_elements", self.values_elements)

    def check_folded(self, folded: int, given: int) -> None:
        """Refuse constants that a network computes from others.

        Args:
            folded: bytes that they take together.
            given: bytes that the file's own tensors take.

        Raises:
            ValueError: they take more than these and ``spare_bytes``.
        """
        allowed = given + self.spare_bytes
        _check("all that is computed from constants", folded, "bytes", "spare_bytes", allowed)


class Budget:
    """What one file may still unpack, and how many numbers its tensors may still have."""

    def __init__(self, limits: Limits, file_bytes: int) -> None:
        limits.check_file(file_bytes)
        self.limits, self.file_bytes = limits, file_bytes
        self._allowed = limits.unpacked(file_bytes)
        self._bytes = self._elements = 0

    def take_bytes(self, what: str, count: int) -> None:
        """Count bytes that are about to be unpacked or laid out in memory.

        Raises:
            ValueError: together with all before they are more than the file may unpack to.
        """
        self._bytes += count
        if self._bytes > self._allowed:
            raise ValueError(
                f"with {what} it unpacks to {self._bytes:,} bytes, more than the {self._allowed:,} allowed for its "
                "size; raise unpacked_bytes and unpacked_ratio of limits=relu_regions.Limits(...) if you trust it"
            )

    def take_tensor(self, what: str, elements: int, itemsize: int) -> None:
        """Count a tensor that is about to be made.

        Raises:
            ValueError: it, or all tensors together, have more numbers or bytes than the limits say.
        """
        _check(what, elements, "numbers", "tensor_elements", self.limits.tensor_elements)
        self._elements += elements
        _check("all tensors together", self._elements, "numbers", "total_elements", self.limits.total_elements)
        self.take_bytes(what, elements * itemsize)


def _check(what: str, count: int, unit: str, name: str, limit: int) -> None:
    if count > limit:
        raise ValueError(
            f"{what} has {count:,} {unit}, more than the limit of {limit:,}; "
            f"raise it with limits=relu_regions.Limits({name}=...) if you trust the file"
        )
