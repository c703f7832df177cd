"""Data sets: MNIST, CIFAR-10, digits and two moons, their subsets, permuted labels and down-sampling."""

from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import fetch_openml, load_digits, make_moons
from sklearn.model_selection import train_test_split
from torch import Tensor

from relu_regions.apps.reproduction.cache import Arrays, save_npz

__all__ = ["Dataset", "load", "two_moons"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples for training and for validation, with their labels.

    Every method returns another data set and leaves this one as it is.

    Attributes:
        name: of the data set.
        x_train, x_test: (N, *shape) float32; images are (N, channels, height, width) with values in [0, 1].
            Networks are trained in float32: an analysis in float64 then sees exactly the trained samples.
        y_train, y_test: (N,) int64, classes counted from 0.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(torch.cat([self.y_train, self.y_test]).max()) + 1

    def per_class(self, train: int | None, test: int | None = None, *, seed: int | None = 0) -> Dataset:
        """As many samples of each class, drawn at random without replacement and kept in their order.

        Args:
            train: training samples of each class, None for all samples.
            test: validation samples of each class, None for all samples.
            seed: of the draw; None takes the first ones of each class.

        Raises:
            ValueError: if a class has fewer samples.
        """
        chosen_train = _per_class(self.y_train, train, seed, 0)
        chosen_test = _per_class(self.y_test, test, seed, 1)
        return replace(
            self,
            x_train=self.x_train[chosen_train],
            y_train=self.y_train[chosen_train],
            x_test=self.x_test[chosen_test],
            y_test=self.y_test[chosen_test],
        )

    def permuted_labels(self, seed: int) -> Dataset:
        """The same training samples with their labels permuted at random (paper, section 4.1)."""
        order = np.random.default_rng(seed).permutation(len(self.y_train))
        return replace(self, y_train=self.y_train[torch.from_numpy(order)])

    def downsampled(self, factor: int) -> Dataset:
        """Images whose pixels are the means of blocks of ``factor`` × ``factor`` pixels (paper, section 4.3).

        Raises:
            ValueError: if the samples are not images, or ``factor`` does not divide their height and width.
        """
        shape = tuple(self.x_train.shape[1:])
        if len(shape) != 3 or factor < 1 or shape[1] % factor or shape[2] % factor:
            raise ValueError(f"{self.name} of shape {shape} cannot be cut into blocks of {factor} × {factor} pixels")
        shrink = torch.nn.AvgPool2d(factor)
        return replace(self, x_train=shrink(self.x_train), x_test=shrink(self.x_test))

    def standardised(self) -> Dataset:
        """All values shifted and scaled alike, to mean 0 and variance 1 over the training samples."""
        mean, deviation = self.x_train.mean(), self.x_train.std(correction=0)
        return replace(self, x_train=(self.x_train - mean) / deviation, x_test=(self.x_test - mean) / deviation)

    def flattened(self) -> Dataset:
        """Samples as vectors: (N, number of values)."""
        return replace(self, x_train=self.x_train.flatten(1), x_test=self.x_test.flatten(1))

    def __repr__(self) -> str:
        return (
            f"Dataset(name={self.name!r}, train={len(self.x_train)}, test={len(self.x_test)}, "
            f"shape={tuple(self.x_train.shape[1:])}, classes={self.classes})"
        )


def load(name: str, data_dir: str | Path | None = None, *, download: bool = False, seed: int = 0) -> Dataset:
    """A data set by its name. Nothing is downloaded unless ``download`` says so.

    - ``"digits"``: scikit-learn's 8 × 8 digits, 1297 for training and 500 for validation.
    - ``"two_moons"``: see `two_moons`.
    - ``"mnist"``: from ``mnist.npz``, or the four IDX files, compressed or not.
    - ``"cifar10"``: from ``cifar10.npz`` (or one ``cifar10*.npz``).

    An .npz holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``: images of any layout, as uint8 or as
    floats in [0, 1]. Nothing is unpickled.

    Args:
        name: one of the four.
        data_dir: the folder of the files, or an .npz file itself; scikit-learn's data folder by default.
        download: fetch MNIST or CIFAR-10 from openml.org if ``data_dir`` has no file of it, and keep it
            there.
        seed: of the split of the digits, and of the two moons.

    Raises:
        FileNotFoundError: where there is no file; the message says what to put where.
        ValueError: for an unknown name, or a file that does not hold what it should.
    """
    if name == "two_moons":
        return two_moons(seed=seed)
    if name == "digits":
        return _digits(seed)
    if name not in _FORMATS:
        raise ValueError(f"unknown data set {name!r}: choose from 'mnist', 'cifar10', 'digits', 'two_moons'")
    format_ = _FORMATS[name]
    place = Path(data_dir) if data_dir is not None else _default_folder()
    arrays = _read(name, format_, place)
    if arrays is None and download:
        arrays = _download(name, format_, place)
    if arrays is None:
        raise FileNotFoundError(_how_to_get(name, format_, place))
    return Dataset(
        name,
        _images(arrays["x_train"], format_.shape, place),
        _classes(arrays["y_train"], len(arrays["x_train"]), place),
        _images(arrays["x_test"], format_.shape, place),
        _classes(arrays["y_test"], len(arrays["x_test"]), place),
    )


def two_moons(train: int = 300, test: int = 100, *, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two interleaving half circles in the plane, one for each class, in equal numbers (paper, section 4.1).

    Args:
        train: number of training samples.
        test: number of validation samples.
        noise: standard deviation of the Gaussian noise added to each coordinate. The paper does not give it.
        seed: of the noise.
    """
    train_seed, test_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
    x_train, y_train = make_moons(train, noise=noise, random_state=train_seed)
    x_test, y_test = make_moons(test, noise=noise, random_state=test_seed)
    return _dataset("two_moons", x_train, y_train, x_test, y_test)


def _digits(seed: int) -> Dataset:
    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        images.reshape(-1, 1, 8, 8) / 16, labels, test_size=500, stratify=labels, random_state=seed
    )
    return _dataset("digits", x_train, y_train, x_test, y_test)


def _dataset(name: str, *arrays: NDArray[Any]) -> Dataset:
    x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in arrays)
    return Dataset(name, x_train.float(), y_train.long(), x_test.float(), y_test.long())


def _per_class(labels: Tensor, number: int | None, seed: int | None, part: int) -> Tensor:
    if number is None:
        return torch.arange(len(labels))
    generator = None if seed is None else np.random.default_rng([seed, part])
    chosen = []
    for label in torch.unique(labels).tolist():
        group = np.flatnonzero(labels.numpy() == label)
        if not 1 <= number <= len(group):
            raise ValueError(f"asked for {number} samples of each class, class {label} has {len(group)}")
        chosen.append(group[:number] if generator is None else generator.choice(group, number, replace=False))
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


# ---------------------------------------------------------------- files


@dataclass(frozen=True)
class _Format:
    """How a data set of images is kept in files."""

    shape: tuple[int, int, int]
    openml: str
    training: int
    files: str  # other than an .npz
    read_files: Callable[[Path], Arrays | None]


def _default_folder() -> Path:
    # As sklearn.datasets.get_data_home, which would create the folder.
    return Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser()


def _read(name: str, format_: _Format, place: Path) -> Arrays | None:
    """The arrays in a file or folder, None where there are none."""
    if place.is_file():
        return _read_npz(place)
    if (place / f"{name}.npz").is_file():
        return _read_npz(place / f"{name}.npz")
    candidates = sorted(place.glob(f"{name}*.npz"))
    if len(candidates) > 1:
        names = ", ".join(candidate.name for candidate in candidates)
        raise ValueError(f"{place} has several files for {name}: {names}; give the path of one as data_dir")
    return _read_npz(candidates[0]) if candidates else format_.read_files(place)


def _read_npz(path: Path) -> Arrays:
    needed = ("x_train", "y_train", "x_test", "y_test")
    if path.suffix != ".npz":
        raise ValueError(f"{path} is not an .npz file: give such a file, or the folder that holds the data")
    with np.load(path, allow_pickle=False) as file:
        missing = [key for key in needed if key not in file]
        if missing:
            raise ValueError(f"{path} must hold the arrays {', '.join(needed)}, it holds {', '.join(file)}")
        return {key: file[key] for key in needed}


def _read_idx_files(folder: Path) -> Arrays | None:
    names = {
        "x_train": "train-images",
        "y_train": "train-labels",
        "x_test": "t10k-images",
        "y_test": "t10k-labels",
    }
    arrays: Arrays = {}
    for key, stem in names.items():
        # Also as torchvision lays them out; some copies have a dot for the dash.
        found = [p for sub in (".", "raw", "MNIST/raw") for p in sorted((folder / sub).glob(f"{stem}?idx?-ubyte*"))]
        found = [p for p in found if p.name.endswith(("-ubyte", "-ubyte.gz"))]
        if not found:
            return None
        arrays[key] = _read_idx(found[0])
    return arrays


def _read_idx(path: Path) -> NDArray[Any]:
    """An array of bytes in the IDX format: 0, 0, type, number of dimensions; big-endian sizes; the values."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4]!r}")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} should hold {math.prod(shape)} values for its shape {shape}, has {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _download(name: str, format_: _Format, folder: Path) -> Arrays:
    fetched = fetch_openml(format_.openml, version=1, as_frame=False, data_home=str(folder))
    images, labels = fetched.data.astype(np.uint8), fetched.target.astype(np.uint8)
    images = images.reshape(-1, *format_.shape)
    split = format_.training
    arrays = {
        "x_train": images[:split],
        "y_train": labels[:split],
        "x_test": images[split:],
        "y_test": labels[split:],
    }
    save_npz(folder / f"{name}.npz", arrays)
    return arrays


def _how_to_get(name: str, format_: _Format, place: Path) -> str:
    return (
        f"no {name} in {place}: put there {format_.files}{name}.npz with the arrays x_train, y_train, "
        f"x_test, y_test; or give their folder as data_dir; or let load({name!r}, download=True) fetch it "
        "from openml.org"
    )


_FORMATS = {
    "mnist": _Format(
        shape=(1, 28, 28),
        openml="mnist_784",
        training=60_000,
        files="train-images-idx3-ubyte, train-labels-idx1-ubyte and the same for t10k (also with .gz), or ",
        read_files=_read_idx_files,
    ),
    "cifar10": _Format(
        shape=(3, 32, 32),
        openml="CIFAR_10",
        training=50_000,
        files="",
        read_files=lambda folder: None,
    ),
}


def _images(values: NDArray[Any], shape: tuple[int, int, int], place: Path) -> Tensor:
    """(N, channels, height, width) float32 in [0, 1], from pixels in any of the usual layouts."""
    channels, height, width = shape
    if values.shape[1:] not in (shape, (height, width, channels), (height, width), (math.prod(shape),)) or (
        values.size != len(values) * math.prod(shape)
    ):
        raise ValueError(f"{place} has images of shape {values.shape[1:]}, expected {shape}")
    if values.shape[1:] == (height, width, channels):
        values = values.transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(np.array(values)).reshape(-1, *shape)
    if pixels.dtype == torch.uint8:
        return pixels.float() / 255
    if not pixels.is_floating_point() or not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError(f"{place} has pixels of {pixels.dtype}: expected uint8, or floats in [0, 1]")
    return pixels.float()


def _classes(labels: NDArray[Any], samples: int, place: Path) -> Tensor:
    if not np.issubdtype(labels.dtype, np.integer) or labels.size != samples:
        raise ValueError(f"{place} has {labels.size} labels of {labels.dtype} for {samples} images")
    classes = torch.from_numpy(labels.reshape(-1).astype(np.int64))
    if ((classes < 0) | (classes > 9)).any():
        raise ValueError(f"{place} has labels from {int(classes.min())} to {int(classes.max())}, expected 0 to 9")
    return classes
