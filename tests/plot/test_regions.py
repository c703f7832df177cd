"""Pictures of regions: what is drawn is read back from the axes and compared with the numbers."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection

import relu_regions as rr
from relu_regions.plot import attribution_image, graph_of_regions
from tests.models import mlp
from tests.plot.axes import new_axes


def a_graph(inputs: int):
    torch.manual_seed(0)
    model = mlp(inputs, 8, 7, 3).double().eval()
    d = torch.randn(4, inputs, dtype=torch.float64)
    return rr.region_graph(rr.walk(model, torch.zeros_like(d), d, (-1, 2)))


@pytest.mark.parametrize("inputs", [1, 2, 5])
def test_draws_every_region_and_crossing(inputs: int) -> None:
    graph = a_graph(inputs)
    ax = new_axes()
    assert graph_of_regions(graph, ax) is ax
    (edges,) = (part for part in ax.collections if isinstance(part, LineCollection))
    assert len(edges.get_segments()) == graph.number_of_edges()
    nodes = [part for part in ax.collections if isinstance(part, PathCollection) and len(part.get_offsets())]
    assert sum(len(part.get_offsets()) for part in nodes) == len(graph)
    drawn = {part.get_label().split(":")[0]: len(part.get_offsets()) for part in nodes}
    labels = [label for _, label in graph.nodes(data="label")]
    assert drawn == {f"class {label}": labels.count(label) for label in set(labels)}
    shared = sum(len(segments) > 1 for _, segments in graph.nodes(data="segments"))
    assert shared and any(part.get_label() == f"{shared} on several segments" for part in ax.collections)
    ax.figure.canvas.draw()


def test_two_inputs_are_drawn_where_they_are_and_more_as_far_apart_as_they_show() -> None:
    graph = a_graph(2)
    ax = graph_of_regions(graph, new_axes())
    drawn = np.concatenate([p.get_offsets() for p in ax.collections if isinstance(p, PathCollection)])
    expected = np.array([point.tolist() for _, point in graph.nodes(data="point")])
    assert np.allclose(sorted(map(tuple, drawn)), sorted(map(tuple, expected)))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_1$", "$x_2$")


def test_a_graph_without_regions_or_names_is_refused() -> None:
    graph = a_graph(2)
    with pytest.raises(ValueError, match="class_names must name"):
        graph_of_regions(graph, new_axes(), class_names=[])
    with pytest.raises(ValueError, match="no regions"):
        graph_of_regions(graph.subgraph([]), new_axes())


def test_an_attribution_image_is_centred_on_0() -> None:
    numbers = torch.tensor([[0.0, 1.0], [-3.0, 0.5]])
    ax = new_axes()
    assert attribution_image(numbers, ax, image=numbers.abs()) is ax
    (image,) = ax.images
    assert np.array_equal(image.get_array(), numbers) and image.get_clim() == (-3, 3)
    coloured = attribution_image(torch.stack([numbers, numbers]).numpy(), new_axes())
    assert np.array_equal(coloured.images[0].get_array(), 2 * numbers)
    attribution_image(torch.zeros(2, 2), new_axes(), image=torch.zeros(2, 2)).figure.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attributions": torch.zeros(4)}, "attributions must be finite"),
        ({"attributions": torch.full((2, 2), torch.nan)}, "attributions must be finite"),
        ({"attributions": torch.zeros(2, 2), "image": torch.zeros(3, 2)}, "image has"),
    ],
)
def test_an_attribution_image_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attribution_image(ax=new_axes(), **arguments)
