"""Recording a run of a model: every ATen operation that its answer comes from, with its numbers and its tensors.

Two models whose runs have equal recordings compute the same function by the same operations on the parameters and
buffers of the same names, however their Python state came about. So a kept trace is asked for nothing else than this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["Called", "Recording", "record"]


class Called(NamedTuple):
    """An operation, what it was given, and whether it writes to one of its arguments."""

    operation: str
    given: Hashable
    writes: bool


@dataclass(frozen=True)
class Recording:
    """What a run called; equal where operations, numbers, constants and the names and shapes of tensors are.

    Attributes:
        calls: for each operation that what was returned depends on, or that writes, its name, and what it was given:
            numbers, names of parameters and buffers, digests of other tensors, and which call made what it reads.
        returned: where each tensor that the run returned comes from.
        structure: how they were returned.
        outputs: what the run returned.
    """

    calls: tuple[Called, ...]
    returned: Hashable
    structure: str = field(compare=False)
    outputs: Any = field(compare=False)


def record(run: Callable[[Tensor], Any], x: Tensor, tensors: Mapping[str, Tensor]) -> Recording:
    """Run a model on rows and record what it calls; no gradients.

    Args:
        run: the model's forward pass.
        x: rows that it may change in place, ``(N, *input_shape)``.
        tensors: its parameters and buffers by name; a tied one under each of its names.

    Raises:
        UnsupportedOperation: the run draws random numbers, or writes to a tensor that outlives it.
    """
    recorder = _Recorder(x, _named(tensors), {tensor.untyped_storage().data_ptr() for tensor in tensors.values()})
    # torch.cond would compile its branches; a recorder sees what runs eagerly.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), recorder:
        outputs = run(x)
    leaves, structure = tree_flatten(outputs)
    calls, returned = _needed(recorder.calls, recorder.token(leaves))
    return Recording(calls, returned, str(structure), outputs)


class _Made(NamedTuple):
    """A tensor that the run makes: by which call, and where among the call's results."""

    call: int
    position: int


def _needed(calls: list[Called], returned: Hashable) -> tuple[tuple[Called, ...], Hashable]:
    """The calls that matter, numbered anew, and what was returned. torch.export drops the others."""
    wanted = {made.call for made in _mades(returned)}
    for index in range(len(calls) - 1, -1, -1):
        if index in wanted or calls[index].writes:
            wanted.add(index)
            wanted.update(made.call for made in _mades(calls[index].given))
    numbers = {index: number for number, index in enumerate(sorted(wanted))}
    kept = (calls[index]._replace(given=_renumbered(calls[index].given, numbers)) for index in numbers)
    return tuple(kept), _renumbered(returned, numbers)


def _mades(token: Hashable) -> Iterable[_Made]:
    if isinstance(token, _Made):
        return [token]
    return [made for part in token for made in _mades(part)] if isinstance(token, tuple) else []


def _renumbered(token: Hashable, numbers: Mapping[int, int]) -> Hashable:
    if isinstance(token, _Made):
        return _Made(numbers[token.call], token.position)
    return tuple(_renumbered(part, numbers) for part in token) if isinstance(token, tuple) else token


class _Named(tuple[Hashable, ...]):
    """A parameter or buffer: its names, and all about it but its numbers."""


def _named(tensors: Mapping[str, Tensor]) -> dict[int, _Named]:
    names: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    of = {id(tensor): tensor for tensor in tensors.values()}
    return {
        key: _Named((*several, str(of[key].dtype), tuple(of[key].shape), of[key].stride(), str(of[key].device)))
        for key, several in names.items()
    }


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, x: Tensor, names: dict[int, _Named], storages: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Called] = []
        self._tokens: dict[int, Hashable] = {id(x): "input", **names}
        self._storages = storages
        # An id names a tensor for as long as the tensor lives.
        self._held: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        args = _as_python_writes(func, args)
        if func in _SAME_TENSOR or (func is _SLICE and args[2:] == (0, _END, 1)):
            token, result = self.token(args[0]), func(*args, **keywords)
            self._tokens[id(result)] = token
            self._held.append(result)
            return result
        _refuse_chance(func, args, keywords)
        if func._schema.name in _ATTENTION:
            raise UnsupportedOperation(
                "Attention is curved, so there is no finite list of breakpoints. What comes closest are attention "
                "weights frozen as constants, or a maximum or an average in its place."
            )
        written = list(_written(func, args, keywords))
        for tensor in written:
            self._refuse_state(func, tensor)
        given = (self.token(args), tuple((name, self.token(keywords[name])) for name in sorted(keywords)))
        result = func(*args, **keywords)
        for position, tensor in enumerate(_tensors(result)):
            if any(tensor is one for one in written):
                # The order of the calls says what it holds: one may write through a view where the other does not.
                continue
            self._tokens[id(tensor)] = _Made(len(self.calls), position)
            self._held.append(tensor)
        self.calls.append(Called(str(func), given, bool(written)))
        return result

    def token(self, argument: Any) -> Hashable:
        """What stands for an argument in a recording."""
        if isinstance(argument, Tensor):
            if id(argument) not in self._tokens:
                self._tokens[id(argument)] = _digest(argument)
                self._held.append(argument)
                self._storages.add(argument.untyped_storage().data_ptr())
            return self._tokens[id(argument)]
        if isinstance(argument, (list, tuple)):
            return tuple(self.token(item) for item in argument)
        if isinstance(argument, float):
            return argument.hex()
        if argument is None or isinstance(argument, (bool, int, str)):
            return (type(argument).__name__, argument)
        return str(argument)

    def _refuse_state(self, func: Any, tensor: Tensor) -> None:
        token = self._tokens.get(id(tensor))
        kept = tensor.untyped_storage().data_ptr() in self._storages - {0}
        if kept or token is None or isinstance(token, _Digest):
            what = str(token[0]) if isinstance(token, _Named) else "a tensor that outlives it"
            raise UnsupportedOperation(
                f"The forward pass writes to {what} ({func}): an answer could "
                "depend on the calls before it. Remove that line, or make it depend on self.training."
            )


@torch.ops.higher_order.cond.py_impl(_Recorder)
def _recorded_choice(recorder: _Recorder, choice: Any, if_so: Any, if_not: Any, operands: Any) -> Any:
    """The branch of a torch.cond that is chosen, recorded like the rest, and what the choice was made by."""
    chosen = bool(choice)
    # It counts like a call that writes: what comes after depends on it, though no tensor says so.
    recorder.calls.append(Called("cond", (recorder.token(choice), chosen), True))
    with recorder:
        return (if_so if chosen else if_not)(*operands)


# torch.export adds and removes these: their result is the tensor that they were given.
_SAME_TENSOR = {
    torch.ops.aten.detach.default, torch.ops.aten.detach_.default, torch.ops.aten.alias.default,
    torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default,
}  # fmt: skip


# torch's fused attention, which a trace has not.
_ATTENTION = {"aten::_transformer_encoder_layer_fwd", "aten::_native_multi_head_attention"}

_SLICE, _END = torch.ops.aten.slice.Tensor, 2**63 - 1


def _as_python_writes(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a call as torch.export writes them: a slice in full, where Python leaves out ``[:]``."""
    if func is not _SLICE:
        return args
    whole = (args[0], 0, 0, _END, 1)
    return tuple(standard if given is None else given for given, standard in zip((*args, *whole[len(args) :]), whole))


class _Digest(str):
    """The content of a tensor that is neither named nor made in the run."""


def _digest(tensor: Tensor) -> _Digest:
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    content = hashlib.blake2b(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"").hexdigest()
    return _Digest(f"{tensor.dtype}{tuple(tensor.shape)}{tuple(tensor.stride())}{tensor.device}:{content}")


def _tensors(result: Any) -> Iterable[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [t for part in result for t in _tensors(part)] if isinstance(result, (list, tuple)) else []


def _written(func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Iterable[Tensor]:
    if not func._schema.is_mutable:
        return []
    arguments = func._schema.arguments
    given = {a.name: value for a, value in zip(arguments, args)} | keywords
    changed = [given.get(a.name) for a in arguments if a.alias_info is not None and a.alias_info.is_write]
    return [tensor for one in changed for tensor in _tensors(one)]


def _refuse_chance(func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return
    given = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
    given |= dict(zip((argument.name for argument in func._schema.arguments), args)) | keywords
    if given.get("train", given.get("training", True)) and given.get("dropout_p") != 0:
        raise UnsupportedOperation(
            f"The forward pass draws random numbers ({func}): two calls of the model give two answers. "
            "Fix the number that it draws, or make it depend on self.training."
        )
