"""A thousand triangles of three digits of one class: how much of each goes to other classes, in how many pieces.

Labels that a network has merely learned by heart do not fill the triangles between samples that share them.

python examples/triangles_of_digits.py        (needs scikit-learn: pip install "relu-regions[demo]")
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import relu_regions as rr

images, digits = load_digits(return_X_y=True)
x, digits = torch.tensor(images[:300] / 16), torch.tensor(digits[:300])
permuted = digits[torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))]

for what, y in (("real labels", digits), ("permuted labels", permuted)):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(600):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    network = rr.Network.from_module(model.eval(), (64,))  # read once, for all batches

    triangles = rr.directions.triangles(x, y, number=1000)
    lost, regions, pieces = [], [], []
    for start in range(0, len(triangles), 250):
        batch = triangles[start : start + 250]
        planes = rr.walk_plane(network, *batch.planes)
        label = y[batch.index[:, 0]]
        # The triangle's area is 1/2 in units of s t.
        lost.append(2 * planes.class_areas().scatter(1, label[:, None], 0).sum(1))
        regions.append(planes.face_counts.double())
        pieces.append(planes.components().counts.sum(1).double())
    share, count, parts = (torch.cat(numbers) for numbers in (lost, regions, pieces))
    print(f"{what}: accuracy {(model(x).argmax(1) == y).double().mean():.1%}")
    print(f"    other classes win on {share.mean():.1%} of a triangle on average, and on none of {(share == 0).sum()}")
    print(f"    {count.mean():.0f} regions and {parts.mean():.1f} connected pieces of classes on average")
