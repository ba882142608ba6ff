import math

import pytest
import torch

from honeyguard.metrics import accuracy, attack_success, distortion, fidelity, moved
from honeyguard.stats import mean, share


def one_hot(*labels: int) -> torch.Tensor:
    return torch.eye(3)[list(labels)]


def test_share_has_wilsons_interval() -> None:
    found = share(torch.tensor([True] * 8 + [False] * 2))
    assert (found.value, found.n) == (0.8, 10)
    assert (found.low, found.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)  # Wilson 1927, closed form
    assert math.isnan(share(torch.zeros(0, dtype=torch.bool)).value)


def test_mean_has_students_interval() -> None:
    found = mean([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-5)
    assert (mean([5.0]).low, mean([5.0]).high) == (5.0, 5.0)


def test_accuracy_and_fidelity() -> None:
    assert accuracy(one_hot(0, 1, 2, 2), torch.tensor([0, 1, 2, 0])).value == 0.75
    assert fidelity(one_hot(0, 1), one_hot(0, 2)).value == 0.5


def test_attack_success_counts_only_other_classes_that_are_moved() -> None:
    labels = torch.tensor([2, 0, 0, 1, 1])
    before = one_hot(0, 2, 0, 1, 1)  # the second is at the target already: not moved
    after = one_hot(2, 2, 2, 2, 0)
    assert moved(before, after, 2).tolist() == [True, False, True, True, False]
    assert attack_success(before, after, labels, 2).value == 0.5


def test_distortion_of_nothing_is_nothing_and_bits_are_nats_over_ln2() -> None:
    y = torch.softmax(torch.randn(50, 5), 1)
    same = distortion(y, y)
    assert (same.top1_kept.value, same.l1.value, same.kl.value) == (1, 0, 0)
    flat = distortion(one_hot(0, 1), torch.full((2, 3), 1 / 3))
    assert flat.l1.value == pytest.approx(4 / 3)
    assert flat.kl.value == pytest.approx(math.log(3))
    assert flat.entropy_gain_bits.value == pytest.approx(math.log2(3))
