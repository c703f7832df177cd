"""How little of a digit must change before the network, staying in one linear region, would as soon say something else?

python examples/smallest_change.py        (needs scikit-learn: pip install "relu-regions[demo]")
"""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn

import relu_regions as rr

images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(200):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
model.eval()

# Pixels stay in [0, 1]. The largest ball around a point inside, and the nearest point at which another class ties.
digit = x[8]
region = rr.Polytope.at(model, digit).within(0, 1)
centre, radius = region.chebyshev(p=math.inf)
print(f"a digit of class {int(y[8])}; around the centre of its region every pixel may change by {radius:.4f}")
for p in (1, 2, math.inf):
    change = region.smallest_change(digit, p)
    if change is None:
        print("one class is ahead in the whole region")
        break
    print(
        f"p = {p}: {change.distance:.6f} towards class {change.label}, proven to be at least {change.at_least:.6f}; "
        f"{int(((change.point - digit).abs() > 1e-6).sum())} pixels change"
    )
