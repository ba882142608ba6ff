import pytest
import torch
from torch import Tensor

from honeyguard.contract import check_answers, check_disjoint, check_images
from honeyguard.errors import AnswerError, DataError, ImageError

GOOD = torch.rand(4, 1, 8, 8)


def test_good_images_pass_as_they_are() -> None:
    assert check_images(GOOD, (1, 8, 8)) is GOOD
    assert len(check_images(GOOD[:0])) == 0


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (GOOD[0], r"shape \(1, 8, 8\)"),
        (GOOD.double(), "dtype torch.float64"),
        ((GOOD * 255).byte(), r"images.float\(\) / 255"),
        (GOOD * 255, "Divide by 255"),
        (GOOD * 2 - 1, "belongs inside the model"),
        (torch.full((1, 1, 8, 8), float("nan")), "NaN"),
        (GOOD.numpy(), "a ndarray"),
    ],
)
def test_bad_images_are_refused(images: Tensor, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        check_images(images)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ImageError, match=r"\(N, 3, 8, 8\).*got shape \(4, 1, 8, 8\)"):
        check_images(GOOD, (3, 8, 8))


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (torch.randn(3, 4), "softmax"),
        (torch.full((3, 4), 0.3), "row sums off by up to 0.2"),
        (torch.full((3, 4), float("nan")), "NaN"),
        (torch.ones(3, 1), "K ≥ 2"),
        (torch.full((2, 4), 0.25), r"\(2, 4\)"),
    ],
)
def test_bad_answers_are_refused(answers: Tensor, said: str) -> None:
    with pytest.raises(AnswerError, match=said):
        check_answers(answers, 3)


def test_overlapping_splits_are_refused() -> None:
    first, second = torch.rand(200, 1, 4, 4), torch.rand(200, 1, 4, 4)
    check_disjoint({"train": first, "test": second})
    check_disjoint({"train": first, "test": torch.cat([second[1:], first[:1]])})  # one twin in 200, as public data sets have
    with pytest.raises(DataError, match="10 images that are both in 'train' and in 'test'"):
        check_disjoint({"train": first, "test": torch.cat([second[10:], first[:10]])})
