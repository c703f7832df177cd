"""What lies between three handwritten digits: every region of their triangle, and which class wins where.

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
planes = rr.walk_plane(model, *rr.directions.planes_through(a, b, c))

print(
    f"{len(planes.areas)} regions, {len(planes.vertices)} corners, {len(planes.edges)} edges between a 3, an 8 and a 9"
)
print(f"they are proven to be the network's own, by {planes.decided_by[0]}: {planes.certain.item()}")
smallest = int(planes.areas.argmin())
size, norm = 2 * planes.areas[smallest], planes.norms(2)[smallest]
print(f"the smallest region is {size:.1e} of the triangle; ‖W‖₂ there is {norm:.2f}")
pieces = planes.components().counts[0]
print("shares of the triangle by class, and connected pieces:")
for label, area in enumerate(planes.class_areas()[0].tolist()):
    if area:
        print(f"    class {label}: {2 * area:.6%} in {pieces[label]} pieces")

# The same as fractions, for whoever wants them: the shares add up to exactly 1.
(plane,) = rr.rational.walk_plane(model, *rr.directions.planes_through(a, b, c))
print(f"rational arithmetic finds {len(plane)} regions; the shares add up to exactly {2 * sum(plane.class_areas())}")

picture = rr.plot.plane(planes, samples=[(0, 0), (1, 0), (0, 1)], class_names=[f"digit {k}" for k in range(10)])
picture.figure.savefig("between_three_digits.png", dpi=120)
print("wrote between_three_digits.png; rr.plot.plane_html writes one to look around in")
