"""What sampling a line misses, and how slowly it gets better.

python examples/sampled_against_exact.py
"""

import torch
from torch import nn

import relu_regions as rr

# Weights twice their usual size, so that the class changes often.
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)).double()
for parameter in model.parameters():
    parameter.data *= 2
model.eval()

x, target = torch.randn(2, 300, 20, dtype=torch.float64)
exact = rr.exact_interval(model, x, target - x, t_range=(-1, 2))
print(f"exact: mean length {exact.length.mean():.6f}\n")

print("samples   mean length   mean error   largest error   reach past an exit they missed")
for num in (10, 30, 100, 300, 1000, 3000):
    sampled = rr.sampled_interval(model, x, target - x, t_range=(-1, 2), num=num)
    errors = torch.stack([sampled.lo - exact.lo, sampled.hi - exact.hi]).abs()
    missed = ((sampled.lo < exact.lo) | (sampled.hi > exact.hi)).sum()
    print(f"{num:7}   {sampled.length.mean():11.6f}   {errors.mean():10.2g}   {errors.max():13.2g}   {missed:5} of 300")
