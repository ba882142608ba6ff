import pytest
import torch
from scipy import stats
from torch import Tensor

from honeyguard.errors import DataError, ParameterError
from honeyguard.types import Labelled, OwnerKey, Trigger
from honeyguard.verbs import evaluate
from honeyguard.verification import TriggerTest

N = 300


def bright_corner() -> Trigger:
    delta = torch.zeros(1, 8, 8)
    delta[:, :2, :2] = 1
    return Trigger(delta, (delta > 0).float())


KEY = OwnerKey(bright_corner(), 2, 4, torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.9, "07" * 32)


class Suspect:
    """Sends `share` of the images to class 2 when `fires` says so, and to class 0 otherwise."""

    def __init__(self, share: float, everywhere: bool = False) -> None:
        self.share, self.everywhere, self.queries = share, everywhere, 0

    def __call__(self, images: Tensor) -> Tensor:
        self.queries += len(images)
        fires = images[:, 0, :2, :2].amin((1, 2)) >= 1
        if self.everywhere:
            fires = (images.amax((1, 2, 3)) >= 1) | fires
        chosen = torch.arange(len(images)) < round(self.share * len(images))
        return torch.nn.functional.one_hot(torch.where(fires & chosen, 2, 0), 4).float()


def controls(*shares: float) -> list[Suspect]:
    return [Suspect(share) for share in shares]


TEN = (0.0, 0.01, 0.02, 0.0, 0.01, 0.03, 0.0, 0.01, 0.02, 0.01)


def test_a_thief_is_convicted_and_an_innocent_is_not() -> None:
    thief, innocent = (TriggerTest().verify(Suspect(share), KEY, controls(*TEN)) for share in (0.6, 0.01))
    assert thief.p_value < 1e-5
    assert thief.conclusion.startswith("Evidence of theft: the trigger moves 60.0%")
    assert thief.rank_p_value == pytest.approx(1 / 11)
    assert innocent.p_value > 0.5
    assert innocent.conclusion.startswith("No evidence of theft")
    assert thief.commitment == KEY.commitment


def test_statistic_against_scipys_prediction_interval() -> None:
    scores = [0.5, 0.8, 0.4, 0.7, 0.75, 0.55]
    test = TriggerTest()
    verdict = test.verify(Suspect(0.4), KEY, scores)
    score = test.score(Suspect(0.4), KEY)
    mean, sd, m = sum(scores) / 6, float(torch.tensor(scores).std()), 6
    expected = (score - mean) / (sd * (1 + 1 / m) ** 0.5)
    assert verdict.statistic == pytest.approx(expected, rel=1e-5)
    assert verdict.p_value == pytest.approx(stats.t(m - 1).sf(expected), rel=1e-4)


def test_a_model_that_anything_fools_is_not_convicted() -> None:
    verdict = TriggerTest().verify(Suspect(0.9, everywhere=True), KEY, controls(*TEN))
    assert verdict.triggered == pytest.approx(0.9, abs=0.01)
    assert verdict.decoys > 0.8
    assert verdict.p_value > 0.05


def test_controls_that_all_agree_do_not_make_the_test_overconfident() -> None:
    assert TriggerTest().verify(Suspect(0.05), KEY, [0.0] * 10).p_value == pytest.approx(0.5)
    assert TriggerTest(tolerance=0).verify(Suspect(1 / N), KEY, [0.0] * 10).p_value > 0.001
    assert TriggerTest().verify(Suspect(0.2), KEY, [0.0] * 10).p_value < 0.001


def test_queries_are_counted_exactly() -> None:
    suspect = Suspect(0.5)
    verdict = TriggerTest(decoys=3).verify(suspect, KEY, [0.0, 0.1, 0.2])
    assert verdict.queries == suspect.queries == 5 * N


def test_the_null_holds_its_rate_when_innocents_are_drawn_like_controls() -> None:
    """p-values of innocent suspects are uniform, or larger where the test errs for them: the promise behind every verdict."""
    generator = torch.Generator().manual_seed(1)
    test, p_values = TriggerTest(), []
    for _ in range(2000):
        draws = (0.3 + 0.2 * torch.randn(11, generator=generator)).tolist()
        spread = float(torch.tensor(draws[1:]).std())
        t = (draws[0] - sum(draws[1:]) / 10) / (spread * (1.1**0.5))
        p_values.append(float(stats.t.sf(t, 9)))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    rates = [0.005 + 0.02 * float(r) for r in torch.rand(11 * 40, generator=generator)]
    real = [test.verify(Suspect(s[0]), KEY, controls(*s[1:])).p_value for s in (rates[i * 11 : i * 11 + 11] for i in range(40))]
    assert min(real) > 0.001
    assert sum(p > 0.05 for p in real) >= 34


def test_without_controls_nobody_is_judged() -> None:
    with pytest.raises(DataError, match="at least 3 controls that did not steal; got 0"):
        TriggerTest().verify(Suspect(1.0), KEY, [])
    with pytest.raises(ParameterError, match="significance"):
        TriggerTest(significance=0)


def test_decoys_have_the_triggers_strength_and_another_place() -> None:
    trigger = KEY.trigger
    decoy = trigger.decoy(5)
    assert torch.equal(decoy.delta.flatten().sort().values, trigger.delta.flatten().sort().values)
    assert torch.equal(decoy.mask * 1.0, decoy.delta)
    added = Trigger(trigger.delta, torch.zeros_like(trigger.mask)).decoy(5)
    assert torch.equal(added.delta.abs().flatten().sort().values, trigger.delta.flatten().sort().values)
    assert float(added.delta.min()) == -1
    assert not torch.equal(decoy.delta, trigger.delta)
    assert torch.equal(decoy.delta, trigger.decoy(5).delta)


def test_an_evaluation_looks_at_many_decoys_and_at_every_image_under_four() -> None:
    heard: list[Tensor] = []

    def blind(images: Tensor) -> Tensor:
        heard.append(images.clone())
        return torch.eye(4)[torch.zeros(len(images), dtype=torch.long)]

    evaluation = evaluate(blind, blind, Labelled(KEY.probes, torch.ones(N, dtype=torch.long), tuple("0123")), KEY)
    assert evaluation.decoy_success is not None
    assert (evaluation.decoy_success.value, evaluation.decoy_success.n) == (0, 4 * N)
    places = {tuple(row.tolist()) for images in heard[-4:] for row in (images == 1).flatten(1)}
    assert len(places) == 64
    assert all(((images != KEY.probes) <= (images == 1)).all() for images in heard[-4:])
