"""Generalization intervals of large batches."""

from __future__ import annotations

import torch

import relu_regions as rr
from tests.models import mlp
from tests.quick import some_quick


@some_quick("resolve", ["auto", "never"], one_in=2)
def test_thousands_of_lines_on_two_threads_are_each_as_alone(two_threads: None, resolve: str) -> None:
    """Threads write to one array in any order: where two rows of a line compete for a place, chance would decide."""
    torch.manual_seed(0)
    model = mlp(2, 32, 32, 2).double().eval()
    for parameter in model.parameters():
        parameter.data *= 3  # many changes of class on a line
    x, d = torch.randn(2, 2000, 2, dtype=torch.float64)
    together = rr.exact_interval(model, x, d, (-5, 5), resolve=resolve)
    for start in range(0, 2000, 100):
        few = slice(start, start + 100)
        alone = rr.exact_interval(model, x[few], d[few], (-5, 5), resolve=resolve)
        for name in ("lo", "hi"):
            assert (getattr(together, name)[few] - getattr(alone, name)).abs().max() <= 1e-12
        for name in ("label", "label_lo", "label_hi"):
            assert torch.equal(getattr(together, name)[few], getattr(alone, name))
