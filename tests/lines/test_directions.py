"""The families of lines, against their definitions written out in full."""

import itertools
import math

import numpy as np
import pytest
import torch

from relu_regions.lines.directions import (
    between_classes,
    midlines,
    normal_direction,
    pairs,
    principal_components,
    random_directions,
)

LABELS = np.array([4, 7, 4, 7, 7, 4, 9, 4])


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((8, 2, 3))


def as_tuples(index: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in index.tolist()]


def same_class_tuples(length: int) -> set[tuple[int, ...]]:
    return {t for t in itertools.permutations(range(8), length) if len(set(LABELS[list(t)])) == 1}


def test_pairs_are_all_ordered_pairs_of_a_class(samples):
    lines = pairs(samples, LABELS)
    assert sorted(as_tuples(lines.index)) == sorted(same_class_tuples(2))
    assert lines.t_range == (-1, 2)
    for (i, j), x, d in zip(lines.index.tolist(), lines.x.numpy(), lines.d.numpy()):
        assert np.array_equal(x, samples[i])
        assert np.array_equal(d, samples[j] - samples[i])


def test_midlines_are_all_ordered_triples_of_a_class(samples):
    lines = midlines(samples, LABELS)
    assert sorted(as_tuples(lines.index)) == sorted(same_class_tuples(3))
    assert lines.t_range == (-2, 3)
    for (a, b, c), x, d in zip(lines.index.tolist(), lines.x.numpy(), lines.d.numpy()):
        np.testing.assert_allclose(x, (samples[a] + samples[b]) / 2, rtol=1e-15)
        np.testing.assert_allclose(x + d, (samples[b] + samples[c]) / 2, atol=1e-15)


def test_between_classes_are_all_ordered_pairs_of_two_classes(samples):
    lines = between_classes(samples, LABELS)
    expected = [(i, j) for i, j in itertools.permutations(range(8), 2) if LABELS[i] != LABELS[j]]
    assert sorted(as_tuples(lines.index)) == expected
    i, j = lines.index.T.numpy()
    assert np.array_equal(lines.x.numpy(), samples[i])
    assert np.array_equal(lines.d.numpy(), samples[j] - samples[i])


@pytest.mark.parametrize("family", [pairs, midlines, between_classes])
def test_classes_restrict_the_first_sample(samples, family):
    lines = family(samples, LABELS, classes=[7])
    assert set(LABELS[lines.index[:, 0].numpy()]) == {7}
    assert len(lines) == {pairs: 6, midlines: 6, between_classes: 15}[family]


@pytest.mark.parametrize("family", [pairs, midlines, between_classes])
def test_a_random_subset_is_drawn_without_replacement_and_seeded(samples, family):
    everything = set(as_tuples(family(samples, LABELS).index))
    drawn = as_tuples(family(samples, LABELS, number=13, seed=5).index)
    assert len(drawn) == len(set(drawn)) == 13
    assert set(drawn) <= everything
    assert drawn == as_tuples(family(samples, LABELS, number=13, seed=5).index)
    assert drawn != as_tuples(family(samples, LABELS, number=13, seed=6).index)
    whole = as_tuples(family(samples, LABELS, number=len(everything)).index)
    assert len(whole) == len(everything) and set(whole) == everything


def test_the_draw_is_uniform(samples):
    counts = dict.fromkeys(same_class_tuples(2), 0)
    for seed in range(600):
        for pair in as_tuples(pairs(samples, LABELS, number=3, seed=seed).index):
            counts[pair] += 1
    # 18 pairs, 100 draws of each expected, standard deviation about 9.
    assert min(counts.values()) > 60 and max(counts.values()) < 140


def test_a_subset_of_many_is_not_made_by_listing_them_all():
    samples, labels = np.random.default_rng(0).standard_normal((6000, 2)), np.zeros(6000, dtype=int)
    lines = midlines(samples, labels, number=1000)  # of 2.2e11
    assert len(set(as_tuples(lines.index))) == 1000
    assert all(len(set(triple)) == 3 for triple in as_tuples(lines.index))
    assert lines.index.min() < 100 and lines.index.max() > 5900


def test_batches_are_the_lines_in_order(samples):
    lines = midlines(samples, LABELS)
    batches = list(lines.batches(7))
    assert [len(batch) for batch in batches] == [7, 7, 7, 7, 2]
    assert torch.equal(torch.cat([batch.x for batch in batches]), lines.x)
    assert torch.equal(torch.cat([batch.d for batch in batches]), lines.d)
    assert torch.equal(torch.cat([batch.index for batch in batches]), lines.index)
    assert {batch.t_range for batch in batches} == {(-2, 3)}


def test_indexing_and_iteration(samples):
    lines = pairs(samples, LABELS)
    assert torch.equal(lines[-1].d[0], lines.d[-1])
    assert torch.equal(lines[torch.tensor([2, 0])].x, lines.x[[2, 0]])
    assert [len(line) for line in lines] == [1] * 18
    with pytest.raises(IndexError, match="line 18 of 18"):
        lines[18]
    assert repr(lines) == "Lines(number=18, shape=(2, 3), t_range=(-1, 2))"
    with pytest.raises(ValueError, match="size=0"):
        lines.batches(0)


def test_a_million_lines_hold_no_points_of_their_own():
    samples = np.random.default_rng(0).standard_normal((1001, 50))
    lines = pairs(samples, np.zeros(1001, dtype=int))
    assert len(lines) == 1_001_000
    assert lines.points.shape == (1001, 50)
    assert next(lines.batches(10)).x.shape == (10, 50)


def test_equal_samples_span_no_line():
    samples, labels = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 3.0], [0.0, 1.0]]), np.array([0, 0, 0, 1])
    assert as_tuples(pairs(samples, labels).index) == [(0, 2), (1, 2), (2, 0), (2, 1)]
    assert as_tuples(between_classes(samples, labels, classes=[1]).index) == [(3, 2)]
    assert (midlines(samples, labels).d.abs().sum(1) > 0).all()
    with pytest.raises(ValueError, match="equal"):
        pairs(samples[:2], labels[:2])


def ellipsoid(scales: list[float], number: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Samples about (1, 2, …) with the given standard deviations along the columns of a rotation."""
    generator = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(generator.standard_normal((len(scales), len(scales))))
    centre = np.arange(1, len(scales) + 1)
    return centre + (generator.standard_normal((number, len(scales))) * scales) @ rotation.T, rotation


def test_principal_components_are_eigenvectors_of_the_covariance():
    samples, _ = ellipsoid([5, 2, 1, 0.1])
    labels = np.repeat([0, 1], 200)
    lines = principal_components(samples, labels, components=(0, 2, -1), length=3.0)
    assert as_tuples(lines.index) == [(0, 0), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)]
    for (label, component), x, d in zip(lines.index.tolist(), lines.x.numpy(), lines.d.numpy()):
        group = samples[labels == label]
        values, _ = np.linalg.eigh(np.cov(group.T))
        np.testing.assert_allclose(x, group.mean(0))
        np.testing.assert_allclose(np.linalg.norm(d), 3)
        np.testing.assert_allclose(np.cov(group.T) @ d, values[::-1][component] * d, atol=1e-10)
        assert d[np.abs(d).argmax()] > 0


def test_the_last_component_has_variance():
    samples, _ = ellipsoid([5, 2, 1], number=40)
    flat = np.concatenate([samples, samples[:, :1] * 0 + 7, samples.sum(1, keepdims=True)], axis=1)
    lines = principal_components(flat, np.zeros(40, dtype=int), components=(-1,))
    assert lines.index.tolist() == [[0, 2]]
    assert (flat - flat.mean(0) @ np.eye(5)).dot(lines.d[0].numpy()).var() > 0.01
    with pytest.raises(ValueError, match="class 0 has 3 principal components"):
        principal_components(flat, np.zeros(40, dtype=int), components=(3,))


def test_the_length_is_that_of_the_data_and_not_of_the_labels():
    samples, _ = ellipsoid([5, 2, 1])
    radius = math.sqrt(np.trace(np.cov(samples.T, ddof=0)))
    labels = np.arange(400) % 2
    shuffled = np.random.default_rng(0).permutation(labels)
    for lines in (
        principal_components(samples, labels, components=(0, 1)),
        principal_components(samples, shuffled, components=(0, -1)),
        normal_direction(samples, labels, 0, 1),
        random_directions(samples, directions=5),
    ):
        np.testing.assert_allclose(lines.d.norm(dim=1), radius)
        assert lines.t_range == (-2, 2)


def test_normal_direction_is_perpendicular_and_heads_for_the_other_class():
    samples, _ = ellipsoid([5, 2, 1])
    samples[200:] += [0, 4, 8]
    labels = np.repeat([9, 1], 200)
    line = normal_direction(samples, labels, 9, 1, length=2.0)
    tangent = principal_components(samples, labels, classes=[9]).d[0]
    difference = torch.from_numpy(samples[200:].mean(0) - samples[:200].mean(0))
    d = line.d[0]
    np.testing.assert_allclose(line.x[0], samples[:200].mean(0))
    assert abs(float(d @ tangent)) < 1e-12 * float(tangent.norm())
    assert float(d @ difference) > 0
    # In the plane of the tangent and the difference of the means: these three have rank 2.
    assert torch.linalg.matrix_rank(torch.stack([d, tangent, difference])) == 2
    assert line.index.tolist() == [[9, 1]]


def test_random_directions_are_every_sample_along_every_direction(samples):
    lines = random_directions(samples, directions=5, seed=2, length=1.0)
    assert as_tuples(lines.index) == list(itertools.product(range(8), range(5)))
    assert np.array_equal(lines.x.numpy(), samples.repeat(5, axis=0))
    drawn = lines.d[:5]
    assert torch.equal(lines.d, drawn.repeat(8, 1, 1))
    assert len({tuple(direction.flatten().tolist()) for direction in drawn}) == 5
    few = random_directions(samples, directions=5, number=11, seed=2, length=1.0)
    sample, direction = few.index.T
    assert len(few) == 11
    assert torch.equal(few.x, torch.from_numpy(samples)[sample])
    assert torch.equal(few.d, drawn[direction])
    assert not torch.equal(drawn, random_directions(samples, directions=5, seed=3, length=1.0).d[:5])


def test_random_directions_are_uniform_on_the_sphere():
    d = random_directions(np.ones((1, 3)), directions=4000, length=1.0).d
    # Archimedes: each coordinate of a point of the 2-sphere is uniform on [-1, 1].
    for coordinate in d.T:
        counts, _ = np.histogram(coordinate, bins=8, range=(-1, 1))
        assert np.all(np.abs(counts - 500) < 110)


def test_float32_tensors_become_float64_exactly(samples):
    single = torch.from_numpy(samples).float()
    lines = pairs(single, torch.from_numpy(LABELS))
    i, j = lines.index.T
    assert lines.d.dtype == torch.float64
    assert torch.equal(lines.d, single.double()[j] - single.double()[i])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: pairs(x.astype(np.uint8), LABELS), TypeError, "float"),
        (lambda x: pairs(x, LABELS.astype(float)), TypeError, "labels must be integers"),
        (lambda x: pairs(x, LABELS[:5]), ValueError, r"shape \(8,\), got \(5,\)"),
        (lambda x: pairs(x[:, 0, 0], LABELS), ValueError, "shape"),
        (lambda x: pairs(np.where(x > 1, np.nan, x), LABELS), ValueError, "finite"),
        (lambda x: pairs(x, LABELS, classes=[4, 5]), ValueError, "class 5"),
        (lambda x: pairs(x, LABELS, classes=[9]), ValueError, "too few"),
        (lambda x: pairs(x, LABELS, classes=[]), ValueError, "classes"),
        (lambda x: midlines(x, LABELS, number=31), ValueError, "there are 30"),
        (lambda x: midlines(x, LABELS, number=0), ValueError, "number=0"),
        (lambda x: between_classes(x, LABELS * 0), ValueError, "there are no lines between classes"),
        (lambda x: principal_components(x, LABELS, classes=[9]), ValueError, "0 principal components"),
        (lambda x: principal_components(x, LABELS, components=[]), ValueError, "component"),
        (lambda x: principal_components(x, LABELS, classes=[4], length=0.0), ValueError, "length"),
        (lambda x: normal_direction(x, LABELS, 4, 4), ValueError, "4 twice"),
        (lambda x: normal_direction(x, LABELS, 9, 4), ValueError, "all equal"),
        (lambda x: random_directions(x, directions=0), ValueError, "directions=0"),
        (lambda x: random_directions(x[:1], directions=2), ValueError, "length="),
    ],
)
def test_bad_input_is_refused(samples, call, error, message):
    with pytest.raises(error, match=message):
        call(samples)
