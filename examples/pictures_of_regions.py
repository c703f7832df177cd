"""Every picture of a network's regions: logits, norms, the parts of a change, the region graph, attributions.

python examples/pictures_of_regions.py        (needs: pip install "relu-regions[demo]")
"""

import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

import relu_regions as rr
from relu_regions import bounds, plot
from relu_regions.regions.norms import norms_at

# Real handwritten digits, 8 x 8 pixels, and an ordinary network before and after training on them.
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images / 16), torch.tensor(labels)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).double().eval()


def ratios() -> torch.Tensor:
    """‖W_x‖ / ‖W‖ in the region of every digit."""
    return norms_at(model, x, math.inf) / bounds.linear_network_norm(rr.Network.from_module(model, (64,)))


norm_ratios = {"before training": ratios()}
optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
for _ in range(150):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
norm_ratios["after training"] = ratios()

# From a 3 to an 8 and beyond; and from the same 3 to other digits, to see which regions these lines share.
three, eight, others = x[y == 3][:1], x[y == 8][:1], x[4:13]
path = rr.walk(model, three, eight - three, (-1, 2))[0]
graph = rr.region_graph(rr.walk(model, three.expand_as(others), others - three, (0, 1)))
attributions = rr.integrated_gradients(model, three, torch.zeros(64, dtype=torch.float64), 3)


def save(name: str, draw, *arguments, width: float = 8.0, **options) -> None:
    """One picture, written to a temporary name that then gets its own."""
    figure = Figure(figsize=(width, 4), layout="constrained")
    draw(*arguments, figure.subplots(), **options)
    temporary = Path(f".{name}.partial")
    figure.savefig(temporary, format="png", dpi=120)
    temporary.replace(f"{name}.png")
    print(f"{name}.png")


save("logits_along_path", plot.logits_along_path, path)
save("norms_along_path", plot.norms_along_path, path)
save("change_along_path", plot.change_along_path, path)
save("norm_ratios", plot.norm_ratios, norm_ratios)
save("graph_of_regions", plot.graph_of_regions, graph)
save("attribution_image", plot.attribution_image, attributions.view(8, 8), width=5, image=three.view(8, 8))
