"""What lies between three handwritten digits: every region of their triangle, and which class wins where, exactly.

python examples/between_three_digits.py        (needs scikit-learn: pip install "relu-regions[demo]")
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import relu_regions as rr

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

# The triangle is a + s (b - a) + t (c - a) for s, t >= 0 and s + t <= 1; its area in units of s t is 1/2.
a, b, c = (x[y == digit][:1] for digit in (3, 8, 9))
(plane,) = rr.rational.walk_plane(model, *rr.directions.planes_through(a, b, c))

print(f"{len(plane)} regions, {len(plane.vertices)} corners, {len(plane.edges)} edges between a 3, an 8 and a 9")
smallest = min(plane.faces, key=lambda face: face.area)
print(f"the smallest region is {float(2 * smallest.area):.1e} of the triangle, with {len(smallest.corners)} corners")
shares = {label: 2 * area for label, area in enumerate(plane.class_areas()) if area}
print(f"shares of the triangle by class, which add up to exactly {sum(shares.values())}:")
for label, share in shares.items():
    print(f"    class {label}: {float(share):.6%}")

picture = rr.plot.plane(plane, samples=[(0, 0), (1, 0), (0, 1)], class_names=[f"digit {k}" for k in range(10)])
picture.figure.savefig("between_three_digits.png", dpi=120)
print("wrote between_three_digits.png")
