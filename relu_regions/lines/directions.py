"""Which lines to walk along: pairs, midlines, principal components, normals, random directions. And which planes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor

from relu_regions.lines.line_batch import Array
from relu_regions.lines.ranked_tuples import arrangements, members_of, products
from relu_regions.lines.samples import checked, checked_samples, differ, groups
from relu_regions.lines.triangles import Triangles, TrianglesOfSamples, planes_through, triangles
from relu_regions.network.arrays import Integers

__all__ = [
    "Lines",
    "Triangles",
    "TrianglesOfSamples",
    "between_classes",
    "midlines",
    "normal_direction",
    "pairs",
    "planes_through",
    "principal_components",
    "random_directions",
    "triangles",
]


@dataclass(frozen=True, eq=False, repr=False)
class Lines:
    """A family of lines ``x + t d``, held as weighted sums of a few points until they are asked for.

    A million lines between a thousand samples cost two integers each. ``x`` and ``d`` are made anew whenever
    they are read, so read them batch by batch::

        for batch in lines.batches():
            paths = walk(model, batch.x, batch.d, batch.t_range)

    Attributes:
        points: (M, *shape) float64, on the device of the samples.
        members: (N, k) int64, CPU: the rows of ``points`` that line i is made of.
        x_weights: k numbers: ``x[i] = Σ_j x_weights[j] points[members[i, j]]``.
        d_weights: k numbers: ``d[i] = Σ_j d_weights[j] points[members[i, j]]``.
        index: (N, m) int64, CPU: what line i stands for; the function that made the lines says what.
        t_range: the range of t to walk that suits the family; ``dataclasses.replace`` sets another.
    """

    points: Float64[Tensor, " M *shape"]
    members: Int64[Tensor, " N k"]
    x_weights: tuple[float, ...]
    d_weights: tuple[float, ...]
    index: Int64[Tensor, " N m"]
    t_range: tuple[float, float]

    @property
    def x(self) -> Float64[Tensor, " N *shape"]:
        """(N, *shape) float64: the point of each line at t = 0."""
        return self._sum(self.x_weights)

    @property
    def d(self) -> Float64[Tensor, " N *shape"]:
        """(N, *shape) float64: the direction of each line."""
        return self._sum(self.d_weights)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, which: int | slice | Tensor) -> Lines:
        """The chosen lines as a family of their own; a single number gives a family of one."""
        if isinstance(which, int):
            if not -len(self) <= which < len(self):
                raise IndexError(f"line {which} of {len(self)}")
            which = slice(which % len(self), which % len(self) + 1)
        return replace(self, members=self.members[which], index=self.index[which])

    def batches(self, size: int = 4096) -> Iterator[Lines]:
        """The lines in order, ``size`` at a time."""
        if size < 1:
            raise ValueError(f"a batch needs at least one line, got size={size}")
        return (self[start : start + size] for start in range(0, len(self), size))

    def __repr__(self) -> str:
        return f"Lines(number={len(self)}, shape={tuple(self.points.shape[1:])}, t_range={self.t_range})"

    def _sum(self, weights: tuple[float, ...]) -> Tensor:
        # A weight of 0 is skipped: 0 · v would turn -0.0 into 0.0 and costs a gather.
        columns = self.members.to(self.points.device).unbind(1)
        terms = [self.points[rows] * weight for rows, weight in zip(columns, weights) if weight != 0]
        return sum(terms[1:], start=terms[0])


def pairs(
    samples: Float[Array, " M *shape"],
    labels: Integer[Array, " M"],
    *,
    classes: Sequence[int] | None = None,
    number: int | None = None,
    seed: int = 0,
) -> Lines:
    """Lines from each sample to each other sample of its class (paper, section 4.3).

    ``x = x_i`` and ``d = x_j - x_i``; (i, j) and (j, i) are two lines of the family. t runs over [-1, 2].
    Two equal samples span no line: such pairs are left out.

    Args:
        samples: (M, *shape) float.
        labels: (M,) integer.
        classes: only these; all of them by default.
        number: of lines, drawn at random without replacement; all of them by default.
        seed: of the draw.

    Returns:
        Lines with ``index`` (N, 2): the samples i and j.

    Raises:
        TypeError: for samples that are not float or labels that are not integer.
        ValueError: for shapes that do not match, samples that are not finite, a class without a sample,
            classes too small for a single line, or more lines asked for than there are.
    """
    points, classified = checked(samples, labels)
    blocks = [arrangements(group, 2) for group in groups(classified, classes)]
    members = members_of(blocks, number, seed, "pairs")
    members = members[differ(points, members[:, 0], members[:, 1])]
    return _lines(points, members, (1, 0), (-1, 1), (-1, 2))


def midlines(
    samples: Float[Array, " M *shape"],
    labels: Integer[Array, " M"],
    *,
    classes: Sequence[int] | None = None,
    number: int | None = None,
    seed: int = 0,
) -> Lines:
    """Lines through the midpoints of two edges of a triangle of same-class samples (paper, section 4.3).

    For samples a, b, c: ``x = (x_a + x_b) / 2`` and ``d = (x_c - x_a) / 2``, so that t = 1 is the midpoint of
    b and c. t runs over [-2, 3]. A triangle has six such lines, one for each order of a, b, c. Where the
    samples a and c are equal there is no line: such triples are left out.

    Takes what `pairs` takes, and raises what it raises. A class of n samples has n (n - 1) (n - 2) midlines:
    ask for a ``number`` of them where n is large.

    Returns:
        Lines with ``index`` (N, 3): the samples a, b and c.
    """
    points, classified = checked(samples, labels)
    blocks = [arrangements(group, 3) for group in groups(classified, classes)]
    members = members_of(blocks, number, seed, "midlines")
    members = members[differ(points, members[:, 0], members[:, 2])]
    return _lines(points, members, (0.5, 0.5, 0), (-0.5, 0, 0.5), (-2, 3))


def between_classes(
    samples: Float[Array, " M *shape"],
    labels: Integer[Array, " M"],
    *,
    classes: Sequence[int] | None = None,
    number: int | None = None,
    seed: int = 0,
) -> Lines:
    """Lines from each sample to each sample of another class (paper, figure 1).

    ``x = x_i`` and ``d = x_j - x_i``, where the labels of i and j differ. t runs over [-1, 2]. Equal samples
    span no line: such pairs are left out.

    Takes what `pairs` takes, and raises what it raises; ``classes`` are those of sample i, and j may be of
    any other.

    Returns:
        Lines with ``index`` (N, 2): the samples i and j.
    """
    points, classified = checked(samples, labels)
    blocks = [
        products(group, np.flatnonzero(classified != classified[group[0]])) for group in groups(classified, classes)
    ]
    members = members_of(blocks, number, seed, "lines between classes")
    members = members[differ(points, members[:, 0], members[:, 1])]
    return _lines(points, members, (1, 0), (-1, 1), (-1, 2))


def principal_components(
    samples: Float[Array, " M *shape"],
    labels: Integer[Array, " M"],
    *,
    components: Sequence[int] = (0,),
    classes: Sequence[int] | None = None,
    length: float | None = None,
) -> Lines:
    """Lines from the mean of a class along its principal components (paper, section 4.2).

    The first component, 0, approximates a tangent of the class. Negative numbers count from the end: -1 is
    the minor component, of the smallest variance that is not 0 to rounding. A component's largest entry is
    positive.

    Args:
        samples: (M, *shape) float.
        labels: (M,) integer.
        components: which, for each class.
        classes: only these; all of them by default.
        length: Euclidean length of d. By default the root mean square distance of the samples from the mean
            of them all, which is the same for every direction and every labelling. t runs over [-2, 2].

    Returns:
        Lines with ``index`` (N, 2): the class and the component, counted from 0.

    Raises:
        TypeError: for samples that are not float or labels that are not integer.
        ValueError: for shapes that do not match, samples that are not finite, a class without a sample, a
            component that a class does not have, or a length that is not positive.
    """
    points, classified = checked(samples, labels)
    length = _length(points, length)
    if not components:
        raise ValueError("components is empty: name at least one, such as 0 for the first")
    rows: list[Tensor] = []
    members, index = [], []
    for group in groups(classified, classes):
        label, mean, axes = int(classified[group[0]]), *_principal_axes(points[torch.from_numpy(group)])
        centre = len(rows)
        rows.append(mean)
        for component in components:
            if not -len(axes) <= component < len(axes):
                raise ValueError(
                    f"class {label} has {len(axes)} principal components of non-zero variance, "
                    f"asked for component {component}"
                )
            members.append((centre, len(rows)))
            index.append((label, component % len(axes)))
            rows.append(length * axes[component])
    return _lines(torch.stack(rows), np.array(members), (1, 0), (0, 1), (-2, 2), np.array(index))


def normal_direction(
    samples: Float[Array, " M *shape"],
    labels: Integer[Array, " M"],
    start: int,
    end: int,
    *,
    length: float | None = None,
) -> Lines:
    """The line from one class mean towards another, perpendicular to the tangent (paper, figure 2).

    d is the difference of the two means less its part along the first principal component of class ``start``.
    The paper's own are ``start=9`` and ``end=1``.

    Args:
        samples: (M, *shape) float.
        labels: (M,) integer.
        start: the class from whose mean the line starts.
        end: the class that it heads for.
        length: Euclidean length of d, by default as for `principal_components`. t runs over [-2, 2].

    Returns:
        One line, with ``index`` (1, 2): the two classes.

    Raises:
        TypeError: for samples that are not float or labels that are not integer.
        ValueError: for shapes that do not match, samples that are not finite, a class without a sample, a
            first class whose samples are all equal, a difference of means that is parallel to the component,
            or a length that is not positive.
    """
    points, classified = checked(samples, labels)
    if start == end:
        raise ValueError(f"a normal direction leads from one class to another, got {start} twice")
    first, second = (groups(classified, [label])[0] for label in (start, end))
    mean, axes = _principal_axes(points[torch.from_numpy(first)])
    if len(axes) == 0:
        raise ValueError(f"the samples of class {start} are all equal: they have no principal component")
    direction = points[torch.from_numpy(second)].mean(0) - mean
    direction = direction - (direction * axes[0]).sum() * axes[0]
    norm = float(direction.norm())
    if norm == 0:
        raise ValueError(f"the means of classes {start} and {end} differ only along the first principal component")
    rows = torch.stack([mean, direction * (_length(points, length) / norm)])
    return _lines(rows, np.array([[0, 1]]), (1, 0), (0, 1), (-2, 2), np.array([[start, end]]))


def random_directions(
    samples: Float[Array, " M *shape"],
    *,
    directions: int = 1,
    number: int | None = None,
    seed: int = 0,
    length: float | None = None,
) -> Lines:
    """Lines from each sample along random directions, uniform on the sphere (paper, figure 1).

    The directions are drawn once and every sample is paired with every one of them.

    Args:
        samples: (M, *shape) float.
        directions: how many are drawn.
        number: of lines, drawn at random without replacement; all (M · directions) by default.
        seed: of the directions and of the draw.
        length: Euclidean length of d, by default as for `principal_components`. t runs over [-2, 2].

    Returns:
        Lines with ``index`` (N, 2): the sample and the direction, counted from 0.

    Raises:
        TypeError: for samples that are not float.
        ValueError: for samples that are not finite, fewer than one direction, more lines asked for than there
            are, or a length that is not positive.
    """
    points = checked_samples(samples)
    if directions < 1:
        raise ValueError(f"at least one direction is needed, got directions={directions}")
    normal = np.random.default_rng(seed).standard_normal((directions, points[0].numel()))
    drawn = _length(points, length) * normal / np.linalg.norm(normal, axis=1, keepdims=True)
    drawn_points = torch.from_numpy(drawn).to(points.device).view(directions, *points.shape[1:])
    everyone = products(np.arange(len(points)), np.arange(directions))
    index = members_of([everyone], number, seed, "random lines")
    return _lines(torch.cat([points, drawn_points]), index + np.array([0, len(points)]), (1, 0), (0, 1), (-2, 2), index)


# ---------------------------------------------------------------- parts of lines


def _length(points: Tensor, length: float | None) -> float:
    if length is None:
        length = float((points - points.mean(0)).flatten(1).square().sum(1).mean().sqrt())
    if not (0 < length < math.inf):
        raise ValueError(f"d needs a positive finite length, got {length}; where all samples are equal, give length=")
    return length


def _lines(
    points: Tensor,
    members: Integers,
    x_weights: tuple[float, ...],
    d_weights: tuple[float, ...],
    t_range: tuple[float, float],
    index: Integers | None = None,
) -> Lines:
    if len(members) == 0:
        raise ValueError("all samples that would span a line are equal")
    rows = torch.from_numpy(members)
    return Lines(points, rows, x_weights, d_weights, rows if index is None else torch.from_numpy(index), t_range)


def _principal_axes(points: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and the principal axes of non-zero variance as rows, of shape (rank, *shape)."""
    mean = points.mean(0)
    centred = (points - mean).flatten(1)
    _, scales, axes = torch.linalg.svd(centred, full_matrices=False)
    # The rank as numpy and LAPACK count it: smaller singular values are rounding, their axes arbitrary.
    rank = int((scales > scales.max() * max(centred.shape) * torch.finfo(points.dtype).eps).sum())
    axes = axes[:rank]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return mean, (axes * largest.sign()).view(rank, *points.shape[1:])
