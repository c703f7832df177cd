"""A model that changes between calls is answered as it is at each call, whatever its printed form says."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import relu_regions as rr
from benchmarks.changes import CHANGES, SETTINGS, Changing, in_float64
from relu_regions.network.reading import kept_traces
from tests.models import Wrapped

SIZES = (1e-6, 1.0, 1e6)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Each change at a size and in a type that a seed draws; benchmarks/changed_models.py takes them all.
_RANDOM = random.Random(0)
SAMPLE = [(change, _RANDOM.choice(SIZES), _RANDOM.choice(DTYPES)) for change in CHANGES]


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    yield
    SETTINGS["factor"] = 1.0


def _points(seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, generator=generator).to(dtype), 3 * torch.randn(3, 4, generator=generator).to(dtype)


def assert_answered_as_it_is(model: Changing, dtype: torch.dtype, seed: int = 0) -> None:
    """The walk of a model is that of a first reading, to the last bit, and its outputs are the model's."""
    x, d = _points(seed, dtype)
    paths = rr.walk(model, x, d)
    kept = dict(kept_traces._KEPT)
    kept_traces._KEPT.clear()
    fresh = rr.walk(model, x, d)
    kept_traces._KEPT.update(kept)
    assert torch.equal(paths.t, fresh.t)
    assert torch.equal(paths.outputs, fresh.outputs)
    segments = torch.bucketize(torch.arange(len(paths.t)), paths.offsets[1:], right=True)
    points = x.double()[segments] + paths.t[:, None] * d.double()[segments]
    true = in_float64(model, points, dtype)
    assert (paths.outputs - true).abs().max() <= 1e-9 * true.abs().max()


@pytest.mark.parametrize(
    ("change", "size", "dtype"),
    [pytest.param(*case, marks=[pytest.mark.long] * (number % 2)) for number, case in enumerate(SAMPLE)],
)
def test_a_change_is_seen(change: str, size: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    model = Changing(size).to(dtype).eval()
    x, d = _points(0, dtype)
    before = rr.walk(model, x, d)
    CHANGES[change](model)
    after = rr.walk(model, x, d)
    assert before.t.shape != after.t.shape or not torch.equal(before.outputs, after.outputs)
    assert_answered_as_it_is(model, dtype)


def test_rounds_of_training_and_changes() -> None:
    torch.manual_seed(2)
    model = Changing().eval()
    inputs, labels = torch.randn(32, 4), torch.randint(3, (32,))
    names = random.Random(3).choices(list(CHANGES), k=8)
    for index, name in enumerate(names):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(list(model.parameters()), gradients):
                parameter -= 0.05 * gradient if gradient is not None else 0.0
        rr.exact_interval(model, *_points(index, torch.float32))
        CHANGES[name](model)
        assert_answered_as_it_is(model, torch.float32, index)


def test_an_unchanged_model_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    export, exports = kept_traces.exported, []
    monkeypatch.setattr(kept_traces, "exported", lambda *given: exports.append(export(*given)) or exports[-1])
    kept_traces._KEPT.clear()
    model = Changing().eval()
    for seed in range(4):
        CHANGES["training"](model)
        rr.walk(model, *_points(seed, torch.float32))
    assert len(exports) == 1


class Caching(nn.Module):
    """Everyday Python: a cache that the first call fills, numbers that nothing reads, an index of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.cached = nn.Linear(4, 8), nn.Linear(8, 3), None

    def forward(self, x: Tensor) -> Tensor:
        if self.cached is None:
            self.cached = self.first.weight.abs().sum(1)
        h = torch.relu(self.first(x))
        self.last(h).sigmoid().mean()
        return self.last(h[:, 2:] @ torch.eye(6, 8) + self.cached)


def test_everyday_python_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    export, exports = kept_traces.exported, []
    monkeypatch.setattr(kept_traces, "exported", lambda *given: exports.append(export(*given)) or exports[-1])
    model = Caching().eval()
    for seed in range(3):
        rr.walk(model, *_points(seed, torch.float32))
    assert len(exports) == 1


def test_a_kept_trace_keeps_its_constants() -> None:
    model = Wrapped(lambda m, x: x * m.held[0]).eval()
    live = torch.linspace(0.1, 0.4, 4)
    model.held, before = [live], live.clone()
    first = rr.Network.from_module(model, (4,)).steps[0].constants[0]
    live.mul_(1 + 1e-6)
    model.held = [before]
    assert torch.equal(rr.Network.from_module(model, (4,)).steps[0].constants[0], first)


def test_a_number_that_is_the_size_of_the_batch_is_not_a_plain_one() -> None:
    for plain in (1, 2):
        rr.walk(Wrapped(lambda m, x, plain=plain: x * plain).eval(), *_points(0, torch.float32))
    with pytest.raises(rr.UnsupportedOperation, match="size of the batch"):
        rr.walk(Wrapped(lambda m, x: x * x.shape[0]).eval(), *_points(0, torch.float32))


def test_models_that_differ_in_widths_alone_are_told_apart() -> None:
    for width in (3, 5, 4):
        model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)).eval()
        assert rr.Network.from_module(model, (4,)).units == width


def test_a_dtype_is_another_reading() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x, d = _points(0, torch.float64)
    single = rr.walk(model, x, d)
    double = rr.walk(model.double(), x, d)
    assert torch.equal(single.outputs, double.outputs)  # float64 holds what float32 holds
    half = rr.walk(model.half(), x, d)
    assert not torch.equal(half.outputs, single.outputs)


# ---------------------------------------------------------------- what no reading can be right about


class Counting(nn.Module):
    """Its answer depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x) * (1 + 1e-9 * self.calls)


class Remembering(nn.Module):
    """It writes to a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.layer(x)


@torch.library.custom_op("relu_regions_tests::relu", mutates_args=())
def _other_relu(x: Tensor) -> Tensor:
    return torch.where(x > 50, x / 2 + 25, x.relu())


@_other_relu.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


SEEN = torch.zeros(4)


def _seen(x: Tensor) -> Tensor:
    SEEN[0] = 1e-9
    return x + SEEN


REFUSED = {
    "chance": (Wrapped(lambda m, x: x + 1e-9 * torch.randn(4)), "randn"),
    "chance of the batch's shape": (Wrapped(lambda m, x: x + 1e-9 * torch.rand_like(x)), "rand_like"),
    "dropout": (Wrapped(lambda m, x: nn.functional.dropout(x, 0.1, training=True)), "random"),
    "calls": (Counting(), "calls before"),
    "state": (Remembering(), "writes to seen"),
    "int": (Wrapped(lambda m, x: 1e-6 * x.int()), "int32"),
    "long": (Wrapped(lambda m, x: 1e-6 * x.long()), "int64"),
    "byte": (Wrapped(lambda m, x: 1e-6 * x.abs().byte().to(x.dtype)), "uint8"),
    "bool": (Wrapped(lambda m, x: 1e-6 * x.bool().to(x.dtype)), "bool"),
    "type by position": (Wrapped(lambda m, x: x + 1e-9 * x.to(torch.int32).to(x.dtype)), "int32"),
    "type as": (Wrapped(lambda m, x: x + 1e-9 * x.type_as(torch.arange(3)).to(x.dtype)), "int64"),
    "sum in integers": (Wrapped(lambda m, x: x + 1e-9 * x.sum(1, keepdim=True, dtype=torch.int64)), "int64"),
    "eight bits": (Wrapped(lambda m, x: x.to(torch.float8_e4m3fn).to(x.dtype)), "float8"),
    "flip": (Wrapped(lambda m, x: x + 1e-9 * x.flip(0)), "flip"),
    "roll": (Wrapped(lambda m, x: x + 1e-9 * x.roll(6, 0)), "roll"),
    "roll of all": (Wrapped(lambda m, x: x + 1e-9 * x.roll(4)), "roll"),
    "triu": (Wrapped(lambda m, x: x.triu(-10)), "members of a batch"),
    "another library's": (Wrapped(lambda m, x: torch.ops.relu_regions_tests.relu(x)), "relu_regions_tests::relu"),
    "tril": (Wrapped(lambda m, x: x + 1e-9 * x.tril()), "tril"),
    "batch size": (Wrapped(lambda m, x: x * x.shape[0]), "size of the batch"),
    "divided by the batch size": (Wrapped(lambda m, x: x / x.shape[0]), "size of the batch"),
    "ones of the batch": (Wrapped(lambda m, x: x + torch.ones(x.shape[0], 1).sum(0)), "sum"),
    "filled with the batch size": (
        Wrapped(lambda m, x: x + torch.full((x.shape[0], 4), 1.0 / x.shape[0])), "size of the batch"
    ),
    "places in the batch": (Wrapped(lambda m, x: x + 1e-9 * torch.arange(x.shape[0])[:, None]), "size of the batch"),
    "sums down the batch": (Wrapped(lambda m, x: x + 1e-9 * torch.ones(x.shape[0], 4).cumsum(0)), "cumsum"),
}  # fmt: skip


@pytest.mark.parametrize("exported", [False, True], ids=["module", "program"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_numbers_is_refused_by_name(name: str, exported: bool) -> None:
    model, words = REFUSED[name]
    model = model.eval()
    if exported:
        example, dynamic = (torch.randn(3, 4),), ({0: torch.export.Dim("N")},)
        model = torch.export.export(model, example, dynamic_shapes=dynamic)
        if name == "calls":
            pytest.skip("a program has no Python state")
    with pytest.raises(rr.UnsupportedOperation, match="buffer 'seen'" if exported and name == "state" else words):
        rr.walk(model, *_points(0, torch.float32))


def test_state_is_refused_before_it_changes() -> None:
    model = Remembering().eval()
    with pytest.raises(rr.UnsupportedOperation):
        rr.walk(model, *_points(0, torch.float32))
    assert model.seen == 0


def test_chance_draws_no_number() -> None:
    state = torch.get_rng_state()
    with pytest.raises(rr.UnsupportedOperation):
        rr.walk(REFUSED["chance"][0].eval(), *_points(0, torch.float32))
    assert torch.equal(state, torch.get_rng_state())


def test_what_treats_one_point_otherwise_is_refused() -> None:
    model = Wrapped(lambda m, x: x * (1 + 1e-9) if x.shape[0] == 1 else x)
    with pytest.raises(rr.UnsupportedOperation, match="with one point than with several"):
        rr.walk(model.eval(), *_points(0, torch.float32))


@pytest.mark.parametrize("asks", [torch.compiler.is_exporting, torch.compiler.is_compiling])
def test_what_is_traced_otherwise_is_refused(asks: Callable[[], bool]) -> None:
    model = Wrapped(lambda m, x: x * (1 + 1e-9) if asks() else x)
    with pytest.raises(rr.UnsupportedOperation, match="traces it than when it is called"):
        rr.walk(model.eval(), *_points(0, torch.float32))


def test_a_write_through_a_view_is_refused_before_it_happens() -> None:
    with pytest.raises(rr.UnsupportedOperation, match="a tensor that outlives it"):
        rr.walk(Wrapped(lambda m, x: _seen(x)).eval(), *_points(0, torch.float32))
    assert not SEEN.any()


def test_autocast_around_a_call_does_not_change_the_model() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    plain = rr.walk(model, *_points(0, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        inside = rr.walk(model, *_points(0, torch.float32))
    assert torch.equal(plain.outputs, inside.outputs)


# ---------------------------------------------------------------- threads and interrupts


def test_first_calls_in_several_threads() -> None:
    errors: list[BaseException] = []

    def work(width: int) -> None:
        model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3)).eval()
        try:
            rr.walk(model, *_points(width, torch.float32))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(width,)) for width in range(5, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_an_interrupt_waits_until_the_model_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            if torch.compiler.is_exporting():
                signal.raise_signal(signal.SIGINT)
            return self.layer(x)

    model = Interrupting().eval()
    with pytest.raises(KeyboardInterrupt):
        rr.walk(model, *_points(0, torch.float32))
    assert type(model.layer.weight) is nn.Parameter
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    plain = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    assert len(rr.walk(plain, *_points(0, torch.float32))) == 3
