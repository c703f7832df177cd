"""Which pixels make a digit: integrated gradients exactly, beside those that captum samples.

python examples/integrated_gradients.py        (needs: pip install "relu-regions[demo]" captum)
"""

import time
from importlib.util import find_spec

import torch
from sklearn.datasets import load_digits
from torch import nn

import relu_regions as rr

# Real handwritten digits, 8 x 8 pixels, and an ordinary network trained on them.
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images / 16), torch.tensor(labels)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)).double()
optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
model.eval()

# From a blank image to each digit: what every pixel adds to the logit of the digit's class.
digits, classes, blank = x[:100], y[:100], torch.zeros(64, dtype=torch.float64)
rr.integrated_gradients(model, digits[:1], blank, classes[:1])  # reads the model and compiles the loops
started = time.perf_counter()
exact = rr.integrated_gradients(model, digits, blank, classes)
seconds = time.perf_counter() - started

with torch.no_grad():
    change = (model(digits) - model(blank[None]))[torch.arange(100), classes]


def report(name: str, attributions: torch.Tensor, seconds: float) -> None:
    """How far attributions are from adding up to the logit's change, and from the exact ones."""
    missing = (attributions.sum(1) - change).abs().max().item()
    error = ((attributions - exact).abs().amax(1) / exact.abs().amax(1)).max().item()
    print(f"{name:20}  {seconds:8.3f}  {missing:22.1e}  {error:14.1e}")


print("attributions of 100 digits to the logit of their class; the largest error of any of them")
print("                       seconds  sum - change of logit  relative error")
report("exact", exact, seconds)
if find_spec("captum") is None:
    print("captum is not installed, so there is nothing to compare with: pip install captum")
else:
    from captum.attr import IntegratedGradients

    for steps in (50, 300, 1000):
        started = time.perf_counter()
        sampled = IntegratedGradients(model).attribute(digits, blank[None], classes, n_steps=steps).detach()
        report(f"captum, {steps} steps", sampled, time.perf_counter() - started)
