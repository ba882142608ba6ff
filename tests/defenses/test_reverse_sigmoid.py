import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from honeyguard.defenses import ReverseSigmoid
from honeyguard.errors import ParameterError

P = [0.12109935, 0.0498215, 0.0993958, 0.06410096, 0.11366928, 0.04645343, 0.06419807, 0.30685693, 0.07616714, 0.05823757]
GOLDEN = {  # a peer's values: adversarial-robustness-toolbox, ReverseSigmoid
    (1.0, 0.1): [0.10733664, 0.07743666, 0.09712707, 0.08230411, 0.10377649, 0.0764482, 0.08234023, 0.20600921, 0.08703023, 0.08019119],
    (0.75, 0.1): [0.1097239, 0.07264659, 0.09752058, 0.07914664, 0.10549247, 0.07124537, 0.07919333, 0.22350204, 0.08514594, 0.07638316],
    (1.0, 0.5): [0.09699764, 0.10062696, 0.09689676, 0.09873781, 0.0968849, 0.10121989, 0.0987279, 0.11275949, 0.09774373, 0.09940492],
}


@pytest.mark.parametrize("keep_top1", [True, False])
@pytest.mark.parametrize(("beta", "gamma"), GOLDEN)
def test_golden_values(beta: float, gamma: float, keep_top1: bool) -> None:
    found = ReverseSigmoid(beta=beta, gamma=gamma, keep_top1=keep_top1)(torch.tensor([P]))
    torch.testing.assert_close(found, torch.tensor([GOLDEN[beta, gamma]]), atol=1e-6, rtol=0)


def test_one_output_of_two_classes() -> None:
    found = ReverseSigmoid(beta=1, gamma=0.1).checked_binary(torch.tensor([[0.5301345]]))
    torch.testing.assert_close(found, torch.tensor([[0.52711743]]), atol=1e-6, rtol=0)


def test_published_slopes() -> None:
    assert [ReverseSigmoid.published(name).gamma for name in ("mnist", "fashion_mnist", "cifar10", "other")] == [0.2, 0.4, 0.1, 0.2]
    assert ReverseSigmoid.published("cifar10", beta=0.5) == ReverseSigmoid(beta=0.5, gamma=0.1)


def slow(row: list[float], beta: float, gamma: float) -> list[float]:
    """Eqs. 3-4 for one row, in plain Python and double precision."""

    def bend(p: float, rest: float) -> float:
        bent: float = p**gamma / (p**gamma + rest**gamma)
        return bent - 0.5  # s(γ·log(p / (1 - p))) - ½

    perturbed = [p - beta * bend(p, sum(row[:i] + row[i + 1 :])) for i, p in enumerate(row)]
    return [p / sum(perturbed) for p in perturbed]


def rows(n: int, k: int, scale: float, seed: int) -> Tensor:
    return torch.softmax(scale * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), 1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 9),
    k=st.integers(2, 1000),
    scale=st.floats(0, 30),
    beta=st.floats(0, 1),
    gamma=st.floats(0.05, 0.99),
    seed=st.integers(0, 99),
)
def test_equations_against_a_slow_reference(n: int, k: int, scale: float, beta: float, gamma: float, seed: int) -> None:
    y = rows(n, k, scale, seed).float()
    found = ReverseSigmoid(beta=beta, gamma=gamma, keep_top1=False)(y)
    expected = torch.tensor([slow(row, beta, gamma) for row in y.double().tolist()], dtype=torch.float32).view(n, k)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("k", [10, 137, 256, 300, 1000])
def test_sums_over_many_classes_do_not_drift(k: int) -> None:
    y = torch.cat([rows(50, k, scale, 0).float() for scale in (1, 8, 12, 20)])
    found = ReverseSigmoid(beta=0, keep_top1=False)(y)
    torch.testing.assert_close(found.double(), y.double() / y.double().sum(1, keepdim=True), atol=2e-7, rtol=0)


@example(k=2, scale=5.960464477539063e-08, beta=1.0, gamma=0.5, seed=0)  # a tie in single precision, after the division by the sum
@settings(max_examples=100, deadline=None)
@given(k=st.integers(2, 1000), scale=st.floats(0, 60), beta=st.floats(0, 1), gamma=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_top_class_is_always_kept_and_rows_stay_distributions(k: int, scale: float, beta: float, gamma: float, seed: int) -> None:
    y = torch.cat([rows(20, k, scale, seed).float(), torch.eye(k)[:3]])
    found = ReverseSigmoid(beta=beta, gamma=gamma)(y)
    assert torch.equal(found.argmax(1), y.argmax(1))
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(len(y)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("keep_top1", [True, False])
@pytest.mark.parametrize("k", [3, 10, 100, 300])
def test_rows_alone_in_a_block_in_double_precision_and_with_a_gradient_are_the_same(k: int, keep_top1: bool) -> None:
    y, defense = rows(100, k, 6, 0).float(), ReverseSigmoid(keep_top1=keep_top1)
    found = defense(y)
    double, graded = defense(y.double()), defense(y.clone().requires_grad_())
    assert double.dtype is torch.float64
    assert graded.requires_grad
    for other in (torch.cat([defense(row[None]) for row in y]), double.float(), graded.detach()):
        torch.testing.assert_close(found, other, atol=1e-6, rtol=0)
        assert torch.equal(found.argmax(1), other.argmax(1))


def test_without_the_promise_the_top_class_flips() -> None:
    y = rows(500, 100, 3, 0).float()
    flipped = ReverseSigmoid(beta=1, gamma=0.1, keep_top1=False)(y).argmax(1) != y.argmax(1)
    assert 0.1 < flipped.float().mean() < 0.6  # methods.md measured 32 % on such rows


@pytest.mark.parametrize("arguments", [{"beta": -0.1}, {"beta": 1.1}, {"gamma": 0.0}, {"gamma": 2.0}, {"beta": 1.0, "gamma": 1.0}])
def test_parameters_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        ReverseSigmoid(**arguments)  # type: ignore[arg-type]
