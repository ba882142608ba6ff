from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Picture

from honeyguard import data
from honeyguard.errors import ClassCountError, DataError, ImageError
from honeyguard.types import Labelled

SHARED = Path(__file__).parents[2] / "shared" / "data"


def colours(n: int, size: int = 6) -> list[Picture.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return [Picture.fromarray(row) for row in pixels]


def test_digits_come_bundled() -> None:
    digits = data.load("digits")
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.classes == 10
    assert (float(digits.images.min()), float(digits.images.max())) == (0.0, 1.0)
    assert digits.labels.bincount().min() > 170


def test_parquet_image_folder_and_arrays_give_the_same_tensors(tmp_path: Path) -> None:
    pictures, labels = colours(6), [0, 1, 0, 1, 0, 1]
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        folder = tmp_path / "images" / "train" / ("cat", "dog")[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{i}.png")
    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])})
    (tmp_path / "parquet").mkdir()
    Dataset.from_dict({"image": pictures, "label": labels}, features=features).to_parquet(str(tmp_path / "parquet" / "train.parquet"))
    array = np.stack([np.asarray(p) for p in pictures]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.savez(tmp_path / "a.npz", images=array, labels=labels, names=["cat", "dog"])

    parquet, arrays = data.load(str(tmp_path / "parquet")), data.load(str(tmp_path / "a.npz"))
    folder_data = data.load(str(tmp_path / "images"))
    assert parquet.names == arrays.names == folder_data.names == ("cat", "dog")
    torch.testing.assert_close(parquet.images, arrays.images)
    assert sorted(folder_data.images.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(arrays.images.sum((1, 2, 3)).tolist()))
    assert len(data.load(str(tmp_path / "parquet"), limit=4)) == 4


def test_conversion_of_shape_and_colour() -> None:
    colour = torch.rand(3, 3, 8, 8)
    assert data.convert(colour, (1, 4, 4)).shape == (3, 1, 4, 4)
    assert torch.equal(data.convert(colour, (3, 8, 8)), colour)
    grey = data.convert(torch.ones(1, 3, 8, 8), (1, 8, 8))
    torch.testing.assert_close(grey, torch.ones(1, 1, 8, 8))
    assert data.convert(grey, (3, 16, 16)).shape == (1, 3, 16, 16)
    with pytest.raises(DataError, match="images of 4 channels; got 3"):
        data.convert(colour, (4, 8, 8))


def test_splits_are_disjoint_seeded_and_complete() -> None:
    digits = data.load("digits")
    parts = data.split(digits, {"a": 1000, "b": 300, "rest": 0}, seed=1)
    assert [len(p) for p in parts.values()] == [1000, 300, 497]
    again = data.split(digits, {"a": 1000, "b": 300, "rest": 0}, seed=1)
    assert all(torch.equal(parts[n].images, again[n].images) for n in parts)
    assert not torch.equal(parts["a"].labels, data.split(digits, {"a": 1000, "b": 300, "rest": 0}, seed=2)["a"].labels)
    rows = torch.cat([p.images for p in parts.values()]).sum((1, 2, 3)).sort().values
    torch.testing.assert_close(rows, digits.images.sum((1, 2, 3)).sort().values)


@pytest.mark.parametrize("sizes", [{"a": 1797, "b": 1}, {"a": 0, "b": 0}, {"a": -1}, {"a": 1797, "b": 0}])
def test_sizes_that_do_not_fit(sizes: dict[str, int]) -> None:
    with pytest.raises(DataError, match="sizes that fit 1797 images"):
        data.split(data.load("digits"), sizes, 0)


def test_sources_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"\.npz"):
        data.load(str(tmp_path / "no.npz"))
    with pytest.raises(DataError, match="hub id"):
        data.load(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Check the path"):
        data.load(str(tmp_path / "empty"))


def test_arrays_in_bytes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bytes.npz", images=np.zeros((3, 1, 4, 4), dtype=np.uint8), labels=[0, 1, 1])
    with pytest.raises(ImageError, match="float"):
        data.load(str(tmp_path / "bytes.npz"))


def test_images_of_many_shapes_need_a_shape(tmp_path: Path) -> None:
    for name, size in (("a", 6), ("b", 9)):
        (tmp_path / name).mkdir()
        colours(1, size)[0].save(tmp_path / name / "x.png")
    with pytest.raises(DataError, match="images of one shape"):
        data.load(str(tmp_path))
    assert data.load(str(tmp_path), shape=(1, 5, 5)).images.shape == (2, 1, 5, 5)


def test_an_unknown_split_names_the_known() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared image sets are not here")
    with pytest.raises(DataError, match=r"train, test.*got 'valid'"):
        data.load(str(SHARED / "mnist"), "valid", limit=1)


@pytest.mark.parametrize(("name", "shape"), [("fashion_mnist", (1, 28, 28)), ("cifar10", (3, 32, 32)), ("tinyimagenet32", (3, 32, 32))])
def test_real_sets_open_by_the_same_call(name: str, shape: tuple[int, ...]) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared image sets are not here")
    found = data.load(str(SHARED / name), limit=20)
    assert found.images.shape == (20, *shape)
    assert found.classes in {10, 200}


def test_labels_must_fit_the_names() -> None:
    with pytest.raises(ClassCountError):
        Labelled(torch.rand(2, 1, 4, 4), torch.tensor([0, 2]), ("a", "b"))
    with pytest.raises(DataError, match="one label an image"):
        Labelled(torch.rand(2, 1, 4, 4), torch.tensor([0]), ("a", "b"))
