"""A network of one input is a broken line. Its breakpoints are found exactly, and drawn.

python examples/breakpoints_of_a_curve.py        (writes breakpoints_of_a_curve.png)
"""

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

import relu_regions as rr

# A network that has learnt the sine on [-π, π].
torch.manual_seed(0)
inputs = torch.linspace(-math.pi, math.pi, 200)[:, None]
model = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(300):
    optimizer.zero_grad()
    (model(inputs) - inputs.sin()).square().mean().backward()
    optimizer.step()
model.eval()

# Along x + t d with x = 0 and d = 1, t is the input itself.
x, d = torch.zeros(1, 1), torch.ones(1, 1)
path = rr.walk(model, x, d, t_range=(-2 * math.pi, 2 * math.pi))[0]

print(path)
print("the regions around 0:")
middle = int((path.t < 0).sum())
for region in path.regions[middle - 2 : middle + 1]:
    low, high = region.interval
    here, there = path.outputs_at([low, high])[:, 0].tolist()
    print(f"t in [{low:+.4f}, {high:+.4f}]: slope {(there - here) / (high - low):+.4f}")

figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
ax.plot(path.t, path.outputs[:, 0], color="tab:blue", label="the network, exactly")
ax.plot(path.t[1:-1], path.outputs[1:-1, 0], ".", color="tab:red", label=f"its {len(path) - 1} breakpoints")
sine = torch.linspace(-2 * math.pi, 2 * math.pi, 400)
ax.plot(sine, sine.sin(), ":", color="0.5", label="sine")
ax.axvspan(-math.pi, math.pi, color="0.93", label="where it was trained")
ax.set(xlabel="input $t$", ylabel="output")
ax.legend()
figure.savefig("breakpoints_of_a_curve.png", dpi=120)
print("drawn in breakpoints_of_a_curve.png")
