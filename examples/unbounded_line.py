"""A whole line, t from minus to plus infinity: beyond the last breakpoint a network is affine for ever.

python examples/unbounded_line.py        (writes unbounded_line.png)
"""

import math

import torch
from torch import nn

import relu_regions as rr
from relu_regions.plot import logits_along_path

torch.manual_seed(1)
model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double().eval()
x = torch.zeros(8, 2, dtype=torch.float64)
angle = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
d = torch.stack([angle.cos(), angle.sin()], 1)

# No range is given: the intervals may be infinite, and then that is proved, not cut at a large number.
interval = rr.exact_interval(model, x, d)
for degrees, one in zip(range(0, 360, 45), interval):
    print(f"towards {degrees:3}°: {one}")

path = rr.walk(model, x[:1], d[:1], t_range=(-math.inf, math.inf))[0]
print(f"\n{path}: the first and the last region have no end")
print(path.regions[0])
print(path.regions[-1])

ax = logits_along_path(path)
ax.set_title("Logits along a whole line, as far as it has breakpoints")
ax.figure.savefig("unbounded_line.png", dpi=120)
print("drawn in unbounded_line.png")
