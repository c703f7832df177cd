"""Loading from every kind of file, and the seeded changes to a data set."""

import gzip
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relu_regions.apps.reproduction import data
from relu_regions.apps.reproduction.cache import save_npz
from relu_regions.apps.reproduction.data import Dataset, load, two_moons

NUMBER = {"x_train": 20, "x_test": 10}


def image_arrays(*shape: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {key: generator.integers(0, 256, (number, *shape), dtype=np.uint8) for key, number in NUMBER.items()}
    return {
        **arrays,
        "y_train": np.arange(20, dtype=np.uint8) % 10,
        "y_test": np.arange(10, dtype=np.uint8)[::-1],
    }


def assert_holds(dataset: Dataset, arrays: dict[str, np.ndarray], channels_first: tuple[int, ...]) -> None:
    for key, number in NUMBER.items():
        pixels = getattr(dataset, key)
        assert pixels.dtype == torch.float32 and pixels.shape == (number, *channels_first)
        expected = arrays[key].reshape(number, *channels_first).astype(np.float32) / np.float32(255)
        assert np.array_equal(pixels.numpy(), expected)
    assert dataset.y_train.dtype == torch.int64
    assert dataset.y_train.tolist() == arrays["y_train"].tolist()
    assert dataset.y_test.tolist() == arrays["y_test"].tolist()


@pytest.mark.parametrize("layout", [(28, 28), (1, 28, 28), (28, 28, 1), (784,)])
def test_mnist_npz_in_every_layout(tmp_path: Path, layout):
    arrays = image_arrays(*layout)
    np.savez(tmp_path / "mnist.npz", **arrays, other=np.zeros(3))
    for place in (tmp_path, tmp_path / "mnist.npz", str(tmp_path)):
        assert_holds(load("mnist", place), arrays, (1, 28, 28))


def test_cifar10_npz_with_channels_last(tmp_path: Path):
    arrays = image_arrays(32, 32, 3)
    np.savez(tmp_path / "cifar10_small.npz", **{**arrays, "y_train": arrays["y_train"][:, None]})
    channels_first = {key: arrays[key].transpose(0, 3, 1, 2) for key in NUMBER}
    assert_holds(load("cifar10", tmp_path), {**arrays, **channels_first}, (3, 32, 32))
    np.savez(tmp_path / "cifar10_large.npz", **arrays)
    with pytest.raises(ValueError, match=r"cifar10_large\.npz, cifar10_small\.npz"):
        load("cifar10", tmp_path)


def test_float_pixels_are_taken_as_they_are(tmp_path: Path):
    arrays = image_arrays(28, 28)
    np.savez(tmp_path / "mnist.npz", **{**arrays, **{key: arrays[key] / 255 for key in NUMBER}})
    assert_holds(load("mnist", tmp_path), arrays, (1, 28, 28))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
@pytest.mark.parametrize(("dash", "suffix"), [("-", ""), (".", ""), ("-", ".gz")])
def test_idx_files(tmp_path: Path, folder, dash, suffix):
    arrays = image_arrays(28, 28)
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for part, stem in (("train", "train"), ("test", "t10k")):
        for kind, key, rank in (("images", f"x_{part}", 3), ("labels", f"y_{part}", 1)):
            content = idx(arrays[key])
            path = tmp_path / folder / f"{stem}-{kind}{dash}idx{rank}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)
    assert_holds(load("mnist", tmp_path), arrays, (1, 28, 28))
    path.write_bytes(gzip.compress(content[:-1]) if suffix else content[:-1])
    with pytest.raises(ValueError, match="10 values for its shape"):
        load("mnist", tmp_path)
    path.write_bytes(gzip.compress(b"<html>") if suffix else b"<html>")
    with pytest.raises(ValueError, match="not an IDX file"):
        load("mnist", tmp_path)


def test_pickled_batches_of_cifar10_are_not_read(tmp_path: Path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({b"data": np.zeros((4, 3072), np.uint8), b"labels": [0] * 4}))
    for place in (tmp_path, folder):
        with pytest.raises(FileNotFoundError, match=r"cifar10\.npz.*download=True"):
            load("cifar10", place)
    with pytest.raises(ValueError, match=r"not an \.npz file"):
        load("cifar10", folder / "test_batch")


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_a_pickled_array_in_an_npz_is_refused(tmp_path: Path, name: str):
    np.savez(tmp_path / "mnist.npz", **{**image_arrays(28, 28), name: np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_where_no_file_is_the_message_says_what_to_do(tmp_path: Path, monkeypatch, name):
    monkeypatch.setattr(data, "fetch_openml", lambda *_, **__: pytest.fail("downloaded unasked"))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "nowhere"))
    for place in (tmp_path, tmp_path / "nowhere", None):
        with pytest.raises(FileNotFoundError, match=rf"{name}\.npz.*download=True"):
            load(name, place)
    assert list(tmp_path.iterdir()) == []


def test_download_is_kept_and_not_repeated(tmp_path: Path, monkeypatch):
    calls = []
    pixels = np.random.default_rng(0).integers(0, 256, (53, 784)).astype(float)
    target = (np.arange(53) % 10).astype(str)

    def fetch(name, **options):
        calls.append((name, options["data_home"]))
        return type("Fetched", (), {"data": pixels, "target": target})

    monkeypatch.setattr(data, "fetch_openml", fetch)
    monkeypatch.setitem(data._FORMATS, "mnist", replace(data._FORMATS["mnist"], training=50))
    first = load("mnist", tmp_path, download=True)
    assert calls == [("mnist_784", str(tmp_path))]
    assert (len(first.x_train), len(first.x_test)) == (50, 3)
    assert first.y_test.tolist() == [0, 1, 2]
    again = load("mnist", tmp_path)
    assert len(calls) == 1
    assert torch.equal(again.x_test, first.x_test)
    assert torch.equal(again.x_test.flatten(1), torch.from_numpy(pixels[50:]).float() / 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": np.zeros((20, 27, 28), np.uint8)}, r"shape \(27, 28\)"),
        ({"x_train": np.zeros((20, 28, 28), np.int64)}, "int64"),
        ({"x_train": np.full((20, 28, 28), 1.5)}, r"floats in \[0, 1\]"),
        ({"x_train": np.full((20, 28, 28), np.nan)}, r"floats in \[0, 1\]"),
        ({"y_train": np.zeros(19, np.uint8)}, "19 labels"),
        ({"y_train": np.full(20, 10)}, "0 to 9"),
        ({"y_train": np.zeros(20)}, "labels of float64"),
    ],
)
def test_wrong_contents_are_refused(tmp_path: Path, change, message):
    np.savez(tmp_path / "mnist.npz", **{**image_arrays(28, 28), **change})
    with pytest.raises(ValueError, match=message):
        load("mnist", tmp_path)


def test_missing_arrays_unknown_names_and_other_files_are_refused(tmp_path: Path):
    np.savez(tmp_path / "mnist.npz", images=np.zeros(3), x_train=np.zeros(3))
    with pytest.raises(ValueError, match="it holds images, x_train"):
        load("mnist", tmp_path)
    (tmp_path / "mnist.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"not an \.npz file"):
        load("mnist", tmp_path / "mnist.pkl")
    with pytest.raises(ValueError, match="unknown data set 'imagenet'"):
        load("imagenet")


def test_digits():
    digits = load("digits")
    assert repr(digits) == "Dataset(name='digits', train=1297, test=500, shape=(1, 8, 8), classes=10)"
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 1)
    assert torch.equal(digits.x_train, load("digits").x_train)
    assert not torch.equal(digits.y_train, load("digits", seed=1).y_train)
    assert torch.bincount(digits.y_test).min() >= 48


def test_two_moons():
    moons = two_moons()
    assert repr(moons) == "Dataset(name='two_moons', train=300, test=100, shape=(2,), classes=2)"
    assert torch.bincount(moons.y_train).tolist() == [150, 150]
    assert torch.equal(moons.x_train, load("two_moons").x_train)
    assert not torch.equal(moons.x_train, load("two_moons", seed=1).x_train)
    clean = two_moons(noise=0)
    upper = clean.x_train[clean.y_train == 0]
    torch.testing.assert_close(upper.norm(dim=1), torch.ones(150))
    assert not set(map(tuple, moons.x_train.tolist())) & set(map(tuple, moons.x_test.tolist()))


@pytest.fixture
def numbered() -> Dataset:
    """Images whose every value is the number of the sample."""
    x = torch.arange(60.0).view(60, 1, 1, 1).expand(60, 1, 4, 4)
    y = torch.arange(60) % 3
    return Dataset("numbered", x, y, x[:30], y[:30])


def test_per_class_draws_the_same_number_of_each_class(numbered):
    subset = numbered.per_class(5, 2, seed=4)
    assert torch.bincount(subset.y_train).tolist() == [5, 5, 5]
    assert torch.bincount(subset.y_test).tolist() == [2, 2, 2]
    numbers = subset.x_train[:, 0, 0, 0].long()
    assert torch.equal(numbers % 3, subset.y_train)
    assert numbers.tolist() == sorted(set(numbers.tolist()))
    assert torch.equal(subset.x_train, numbered.per_class(5, 2, seed=4).x_train)
    assert not torch.equal(subset.x_train, numbered.per_class(5, 2, seed=5).x_train)
    assert numbered.per_class(2, seed=None).x_train[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert len(numbered.per_class(2).x_test) == 30
    with pytest.raises(ValueError, match="class 0 has 20"):
        numbered.per_class(21)


def test_permuted_labels_keep_samples_and_counts(numbered):
    permuted = numbered.permuted_labels(1)
    assert torch.equal(permuted.x_train, numbered.x_train)
    assert torch.equal(permuted.y_test, numbered.y_test)
    assert torch.bincount(permuted.y_train).tolist() == [20, 20, 20]
    assert 5 < int((permuted.y_train == numbered.y_train).sum()) < 40
    assert torch.equal(permuted.y_train, numbered.permuted_labels(1).y_train)
    assert not torch.equal(permuted.y_train, numbered.permuted_labels(2).y_train)


def test_downsampled_is_the_mean_of_blocks():
    x = torch.rand(3, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(3, dtype=torch.int64)
    small = Dataset("random", x, y, x[:1], y[:1]).downsampled(2)
    assert small.x_train.shape == (3, 2, 2, 3)
    for row in range(2):
        for column in range(3):
            block = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(small.x_train[:, :, row, column], block.mean((2, 3)))
    with pytest.raises(ValueError, match="blocks of 3 × 3"):
        Dataset("random", x, y, x, y).downsampled(3)
    with pytest.raises(ValueError, match="two_moons"):
        two_moons().downsampled(2)


def test_standardised_and_flattened(numbered):
    standard = numbered.standardised().flattened()
    assert standard.x_train.shape == (60, 16)
    torch.testing.assert_close(standard.x_train.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(standard.x_train.square().mean(), torch.tensor(1.0))
    # The test samples move with the training samples, not by their own mean.
    assert torch.equal(standard.x_test, standard.x_train[:30])


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    path = tmp_path / "sub" / "a.npz"
    save_npz(path, {"x": np.arange(3)})
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]

    def fails(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", fails)
    with pytest.raises(KeyboardInterrupt):
        save_npz(path, {"x": np.arange(4)})
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]
    assert np.load(path)["x"].tolist() == [0, 1, 2]
