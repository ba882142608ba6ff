"""Data sets to tensors: one path for hub ids, Parquet folders, image folders, arrays and the bundled digits."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from honeyguard.contract import check_images
from honeyguard.errors import DataError
from honeyguard.types import Labelled

GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # ITU-R BT.601 luma


def load(source: str, split: str = "train", *, shape: tuple[int, ...] | None = None, limit: int | None = None) -> Labelled:
    """Images in [0, 1] with labels from wherever they are.

    Args:
        source: `digits` (scikit-learn's, bundled), a folder of Parquet files, a folder of one folder of images a class,
            an `.npz` file with arrays `images` and `labels`, or a hub id of Hugging Face `datasets`.
        split: name of the split; digits, image folders without splits and `.npz` files have only `train`.
        shape: convert to this (C, H, W): resized, and to grey or from grey.
        limit: only the first so many rows.
    Shape: images (N, C, H, W) float32 in [0, 1]; labels (N,) int64, zeros where the source has none.
    Raises: DataError: nothing there, no such split, or images of several shapes and no `shape` to convert to.
    """
    if source == "digits":
        found = _digits()
    elif source.endswith(".npz"):
        found = _arrays(Path(source))
    else:
        found = _datasets(source, split, shape, limit)
    if limit is not None:
        found = found[:limit]
    if not len(found):
        raise DataError("at least one image", f"an empty {source}:{split}", "Check the path and the split.")
    images = found.images if shape is None else convert(found.images, shape)
    return Labelled(check_images(images), found.labels, found.names)


def convert(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images (N, C, H, W) as (N, *shape): bilinear with anti-aliasing, grey by luma, grey repeated into colour."""
    channels, height, width = shape
    if images.shape[1] == 3 and channels == 1:
        images = (images * GREY).sum(1, keepdim=True)
    elif images.shape[1] == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
    elif images.shape[1] != channels:
        raise DataError(f"images of {channels} channels", f"{images.shape[1]}", "Only grey and colour convert into each other.")
    if images.shape[2:] != (height, width):
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    return images.clamp(0, 1).contiguous()


def split(data: Labelled, sizes: Mapping[str, int], seed: int) -> dict[str, Labelled]:
    """Disjoint parts of `data` in a random order; the size 0 takes what is left, for one part at most.

    Raises: DataError: more asked for than there is, a negative size, or two rests.
    """
    asked = sum(sizes.values())
    rests = [name for name, size in sizes.items() if size == 0]
    if asked + len(rests) > len(data) or len(rests) > 1 or min(sizes.values(), default=0) < 0:
        wanted = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise DataError(f"sizes that fit {len(data)} images, at most one of them 0 (the rest)", wanted, "Lower the sizes.")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    parts, start = {}, 0
    for name, size in sizes.items():
        size = size or len(data) - asked
        parts[name] = data[order[start : start + size]]
        start += size
    return parts


def distorted(images: Tensor, copies: int, seed: int) -> Tensor:
    """Images (N, C, H, W) followed by `copies` distorted versions of each: what somebody sends who is short of images.

    Each version is turned by up to 15°, scaled by 0.85 to 1.2, moved by up to an eighth of its size, dimmed by up to 0.4,
    lifted by up to 0.3 and covered with noise of up to 0.15.
    Shape: (N, C, H, W) -> (N · (1 + copies), C, H, W), in [0, 1].
    """
    if copies == 0 or not len(images):
        return images
    generator = torch.Generator().manual_seed(seed)
    many = images.repeat(copies, 1, 1, 1)

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(len(many), 1, 1, 1, generator=generator) * (high - low) + low

    angle, scale = draw(-math.pi / 12, math.pi / 12), draw(0.85, 1.2)
    across, down = draw(-0.25, 0.25), draw(-0.25, 0.25)
    turn = torch.cat([angle.cos() / scale, -angle.sin() / scale, across, angle.sin() / scale, angle.cos() / scale, down], 3)
    grid = F.affine_grid(turn.view(-1, 2, 3), list(many.shape), align_corners=False)
    moved = F.grid_sample(many, grid, align_corners=False)
    noise = torch.randn(many.shape, generator=generator) * draw(0, 0.15)
    return torch.cat([images, (moved * draw(0.6, 1) + draw(0, 0.3) + noise).clamp(0, 1)])


def _digits() -> Labelled:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.as_tensor(bunch.images, dtype=torch.float32).div(16).unsqueeze(1)
    return Labelled(images, torch.as_tensor(bunch.target), tuple(map(str, range(10))))


def _arrays(path: Path) -> Labelled:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = torch.as_tensor(arrays["images"]), torch.as_tensor(arrays["labels"]).long()
            names = tuple(map(str, arrays["names"])) if "names" in arrays else tuple(map(str, range(int(labels.max()) + 1)))
    except (OSError, KeyError, ValueError) as error:
        raise DataError("an .npz file with arrays 'images' and 'labels'", f"{path} ({error})", "Save it with numpy.savez.") from None
    return Labelled(check_images(images), labels, names)


def _datasets(source: str, split_name: str, shape: tuple[int, ...] | None, limit: int | None) -> Labelled:
    import datasets

    datasets.disable_progress_bars()
    folder = Path(source)
    try:
        if any(folder.rglob("*.parquet")):
            found = datasets.load_dataset("parquet", data_dir=source)
        elif folder.is_dir():
            found = datasets.load_dataset("imagefolder", data_dir=source)
        else:
            found = datasets.load_dataset(source)
    except Exception as error:  # the library raises a dozen unrelated classes
        got = f"{source} ({' '.join(str(error).split())[:160]})"
        raise DataError("a folder of Parquet files or images, or a hub id", got, "Check the path, the name and the network.") from None
    if split_name not in found:
        raise DataError(f"a split of {source} ({', '.join(found)})", repr(split_name), "Name one of these.")
    rows = found[split_name]
    rows = rows.select(range(min(limit, len(rows)))) if limit is not None else rows
    image = next((name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)), None)
    if image is None:
        raise DataError("an image column", f"columns {', '.join(rows.column_names)}", "Use the Hugging Face image layout.")
    images = _stack([_pixels(row) for row in rows[image]], shape)
    label = next((name for name, feature in rows.features.items() if isinstance(feature, datasets.ClassLabel)), None)
    if label is None:
        return Labelled(images, torch.zeros(len(rows), dtype=torch.long), ("unlabelled",))
    return Labelled(images, torch.tensor(rows[label], dtype=torch.long), tuple(rows.features[label].names))


def _pixels(image: object) -> Tensor:
    mode = getattr(image, "mode", None)
    if mode not in {"L", "RGB"}:
        image = image.convert("L" if mode in {"1", "I", "F", "I;16"} else "RGB")  # type: ignore[attr-defined]
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _stack(images: list[Tensor], shape: tuple[int, ...] | None) -> Tensor:
    if shape is not None and len({tuple(image.shape) for image in images}) > 1:
        images = [(convert(image[None].float() / 255, shape)[0] * 255).round().byte() for image in images]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        few = ", ".join(map(str, sorted(shapes)[:3]))
        raise DataError("images of one shape", few, "Give the shape to convert to.")
    return torch.stack(images).float().div(255) if images else torch.empty(0, 1, 1, 1)
