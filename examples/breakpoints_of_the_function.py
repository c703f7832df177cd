"""What max pooling hides: every unit's breakpoints on a line, and those of ReLU and pooling as one gate.

python examples/breakpoints_of_the_function.py        (writes breakpoints_of_the_function.png)
"""

import torch
from matplotlib.figure import Figure
from torch import nn

import relu_regions as rr
from relu_regions.plot import logits_along_path

torch.manual_seed(2)
layers = (nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3))
model = nn.Sequential(*layers).double().eval()
x, d = torch.randn(2, 1, 1, 6, 6, dtype=torch.float64)

figure = Figure(figsize=(8, 6), layout="constrained")
for ax, which in zip(figure.subplots(2, 1, sharex=True), ("pattern", "function")):
    path = rr.walk(model, x, d, (-1, 2), breakpoints=which)[0]
    logits_along_path(path, ax)
    gates = len(path.paths.network.gates)
    ax.set_title(f'breakpoints="{which}": {len(path.breakpoints)} breakpoints of {gates} gate{"s" * (gates > 1)}')
    print(f"{which}: {len(path.breakpoints)} breakpoints, logits at t = 1: {path.outputs_at(1.0)}")
figure.savefig("breakpoints_of_the_function.png", dpi=110)
print("drawn in breakpoints_of_the_function.png")
