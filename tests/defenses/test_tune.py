import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from honeyguard.defenses import (
    GRAD2,
    MAD,
    AdaptiveMisinformation,
    GaussianNoise,
    LabelOnly,
    ModelGuardS,
    ModelGuardW,
    ReverseSigmoid,
    Rounding,
)
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.defenses.tune import Utility, cost, tune
from honeyguard.errors import AnswerError, DataError, ParameterError
from honeyguard.metrics import calibration_error
from honeyguard.training import Network

ANSWERS = torch.softmax(4 * torch.randn(300, 10, generator=torch.Generator().manual_seed(0)), 1)
LABELS = torch.multinomial(ANSWERS, 1, generator=torch.Generator().manual_seed(1)).squeeze(1)


@settings(max_examples=15, deadline=None)
@given(l1=st.floats(0.01, 0.6), nats=st.none() | st.floats(0.01, 0.4))
def test_the_strongest_within_the_budget(l1: float, nats: float | None) -> None:
    budget = Utility(l1=l1, nats=nats, top1_lost=0)
    found = tune(ReverseSigmoid(gamma=0.2), ANSWERS, budget)
    assert found.cost == cost(found.defense, ANSWERS)
    assert found.cost.within(budget)
    assert found.defense.gamma == 0.2
    stronger = found.defense.beta + 0.002
    assert stronger > 1 or not cost(ReverseSigmoid(gamma=0.2, beta=stronger), ANSWERS).within(budget)
    strengths = [strength for strength, _ in found.curve]
    assert strengths == sorted(strengths)
    losses = [utility.l1 or 0 for _, utility in found.curve]
    assert losses == sorted(losses)


def test_a_loose_budget_allows_everything() -> None:
    assert tune(ReverseSigmoid(), ANSWERS, Utility(l1=2)).defense.beta == 1


@pytest.mark.parametrize("kind", [GaussianNoise, MAD, GRAD2, ModelGuardW, ModelGuardS, AdaptiveMisinformation, Rounding])
def test_each_has_a_strength_that_costs_more(kind: type[OutputDefense]) -> None:
    strength = kind.strength
    assert strength is not None
    found = tune(kind(), ANSWERS, Utility(l1=2))
    assert getattr(found.defense, strength.parameter) == strength.strongest
    costs = dict(found.curve)
    assert (costs[strength.weakest].l1 or 0) < 0.1 < (costs[strength.strongest].l1 or 0)
    half = tune(kind(), ANSWERS, Utility(l1=(costs[strength.strongest].l1 or 0) / 2))
    assert (half.cost.l1 or 0) <= (costs[strength.strongest].l1 or 0) / 2
    assert type(getattr(half.defense, strength.parameter)) is type(getattr(kind(), strength.parameter))


def test_calibration_needs_labels_and_is_kept() -> None:
    budget = Utility(calibration_error=0.1)
    with pytest.raises(DataError, match="labels"):
        tune(ReverseSigmoid(), ANSWERS, budget)
    found = tune(ReverseSigmoid(), ANSWERS, budget, labels=LABELS)
    assert 0 < found.defense.beta < 1
    assert calibration_error(found.defense(ANSWERS), LABELS) <= 0.1


def test_an_unreachable_budget_names_the_nearest() -> None:
    with pytest.raises(
        ParameterError, match=r"nearest that a beta keeps: calibration_error ≤ 0\.\d+, l1|nearest that a beta keeps: l1"
    ) as error:
        tune(ReverseSigmoid(), ANSWERS, Utility(calibration_error=1e-6, l1=0.5), labels=LABELS)
    limit = float(str(error.value).rpartition("calibration_error ≤ ")[2].rstrip("."))
    assert tune(ReverseSigmoid(), ANSWERS, Utility(calibration_error=limit + 1e-4, l1=0.5), labels=LABELS).cost.calibration_error


def test_bad_input() -> None:
    with pytest.raises(ParameterError, match="strength"):
        tune(LabelOnly(), ANSWERS, Utility(l1=1))
    with pytest.raises(ParameterError, match="MAD with a surrogate"):
        tune(MAD(surrogate=Network()), ANSWERS, Utility(l1=1))
    with pytest.raises(AnswerError):
        tune(ReverseSigmoid(), ANSWERS * 2, Utility(l1=1))
    with pytest.raises(DataError):
        tune(ReverseSigmoid(), ANSWERS[:0], Utility(l1=1))


def test_calibration_error_by_hand() -> None:
    answers = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert calibration_error(answers, torch.tensor([0, 0, 0, 1])) == pytest.approx((abs(1.8 - 2) + abs(1.2 - 1)) / 4)
