"""A first generalization interval: how far from one handwritten digit towards another does the class hold?

python examples/first_interval.py        (needs scikit-learn: pip install "relu-regions[demo]")
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import relu_regions as rr

# Real handwritten digits, 8 x 8 pixels, and an ordinary network trained on them.
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
model.eval()

# From every "3" among the first 200 digits straight on through the first of them: t = 0 and t = 1 are the digits.
threes = x[:200][y[:200] == 3]
start, target = threes[1:], threes[0]
interval = rr.exact_interval(model, start, target - start, t_range=(-1, 2))

print(f"{len(interval)} lines through two digits of class 3, each followed for t in [-1, 2]")
print("the five shortest intervals:")
for one in interval[interval.length.argsort()[:5]]:
    print(one)
never = (interval.length == 3).double().mean()
print(f"\nmean length {interval.length.mean():.4f} of 3; {never:.0%} never leave their class")
