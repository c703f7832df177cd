"""Many networks of one architecture: each is read as itself, and one alone is traced."""

import pytest
import torch

from relu_regions import tracing
from relu_regions.experiments.modules import ARCHITECTURES
from relu_regions.experiments.reading import read


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_is_read_as_itself(architecture: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    trace, traces = tracing._trace, []
    monkeypatch.setattr(tracing, "_trace", lambda *given: traces.append(trace(*given)) or traces[-1])
    torch.manual_seed(0)
    models = [ARCHITECTURES[architecture]((1, 12, 12), 7).to(dtype).eval() for _ in range(3)]
    for parameter in (parameter for model in models for parameter in model.parameters()):
        parameter.data /= 3  # what double precision alone can hold
    networks = [read(model, (1, 12, 12)) for model in models]
    assert len(traces) <= 1
    x = torch.randn(5, 1, 12, 12, dtype=torch.float64)
    for model, network in zip(models, networks):
        with torch.no_grad():
            torch.testing.assert_close(network(x), model.double()(x), rtol=0, atol=1e-12)


def test_another_shape_is_another_reading() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
    assert read(model, (12,)).input_shape == (12,)
    assert read(model, (3, 4)).input_shape == (3, 4)
