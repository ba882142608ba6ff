"""What each query strategy asks, and that it never asks more than was paid for."""

import math

import pytest
import torch
from torch import Tensor, nn

from honeyguard.attacks import ANSWERS, QUERIES, Extraction
from honeyguard.attacks.queries.active import entropy, farthest_first, probabilities
from honeyguard.attacks.queries.dissector import Dissector, attention, erase_rectangle
from honeyguard.attacks.queries.jbda import JBDA, JBDATargeted, step_along
from honeyguard.attacks.queries.knockoff import AdaptiveKnockoff, draw, gain, quantile
from honeyguard.attacks.queries.ordinary import Ordinary
from honeyguard.attacks.queries.spsg import SPSG, superpixels
from honeyguard.checks import tiny_task
from honeyguard.errors import AnswerError, BudgetError, ParameterError, UnknownNameError
from honeyguard.oracle import LabelOnly, Local, Metered
from honeyguard.training import Network, Recipe
from honeyguard.types import Oracle, Protected, TransferSet

ONCE = [name for name in QUERIES if name != "repeated"]  # which asks the same again, and has tests of its own
CHOOSING = [name for name in ONCE if not getattr(QUERIES[name], "synthesises", False)]
MAKING = [name for name in ONCE if name not in CHOOSING]
QUICK = Recipe(epochs=2, batch=16, augment="none")


class Learner:
    """The tiny thief's own training."""

    def fresh(self) -> nn.Module:
        return Network(model="mlp", arguments={"width": 8}).fresh((1, 8, 8), 4, 0)

    def train(self, transfer: TransferSet, seed: int) -> nn.Module:
        return Network(model="mlp", arguments={"width": 8}, recipe=QUICK).trained(transfer.images, transfer.answers, 4, seed)


@pytest.fixture(scope="module")
def oracle(victim: nn.Module) -> Oracle:
    return Local(Protected.of(victim), (1, 8, 8))


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("budget", [2, 23, 60])
def test_the_whole_budget_is_spent_and_kept(name: str, budget: int, oracle: Oracle) -> None:
    meter = Metered(oracle, budget)
    transfer = QUERIES[name]().collect(meter, tiny_task(5, 200).images, budget, Learner(), 3)
    assert meter.spent == budget
    assert len(transfer.images) == len(transfer.answers) == budget
    assert 0 <= float(transfer.images.min()) <= float(transfer.images.max()) <= 1
    torch.testing.assert_close(oracle(transfer.images), transfer.answers)


@pytest.mark.parametrize("name", CHOOSING)
def test_a_strategy_that_chooses_refuses_a_small_pool_before_any_query(name: str, oracle: Oracle) -> None:
    meter = Metered(oracle, 100)
    with pytest.raises(BudgetError, match="from 1 to 20, the size of the pool"):
        QUERIES[name]().collect(meter, tiny_task(5, 20).images, 21, Learner(), 0)
    assert meter.spent == 0


@pytest.mark.parametrize("name", [name for name in CHOOSING if name != "augsteal"])
def test_a_strategy_that_chooses_asks_each_image_once(name: str, oracle: Oracle) -> None:
    pool = tiny_task(5).images
    images = {image.numpy().tobytes() for image in QUERIES[name]().collect(oracle, pool, 80, Learner(), 0).images}
    assert len(images) == 80
    assert images <= {image.numpy().tobytes() for image in pool}


@pytest.mark.parametrize("name", [name for name in QUERIES if getattr(QUERIES[name], "needs_probabilities", False)])
def test_labels_are_refused_by_what_needs_probabilities(name: str, oracle: Oracle) -> None:
    attack = Extraction(budget=40, query=QUERIES[name](), recipe=QUICK)
    with pytest.raises(AnswerError, match=r"probabilities, which \w+ read; got labels alone.*random.*top1"):
        attack.extract(LabelOnly(oracle), tiny_task(5).images, Learner().fresh())


# -------------------------------------------------------------------------------------------------------------- active


def test_entropy_in_nats() -> None:
    torch.testing.assert_close(entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]])), torch.tensor([0.0, math.log(2)]))


def test_farthest_first_against_a_slow_reference() -> None:
    points, centres = torch.rand(30, 3, generator=torch.Generator().manual_seed(1)), torch.rand(4, 3)
    known, expected = [*centres], []
    for _ in range(6):
        distances = [min(float((p - k).norm()) for k in known) if i not in expected else -1.0 for i, p in enumerate(points)]
        expected.append(distances.index(max(distances)))
        known.append(points[expected[-1]])
    assert farthest_first(points, centres, 6).tolist() == expected


def test_the_unsure_are_asked() -> None:
    substitute, pool = Learner().fresh(), tiny_task(5).images
    rest = torch.arange(10, 96)
    chosen = rest[QUERIES["entropy"]().choose(substitute, pool, torch.arange(10), rest, 12)]  # type: ignore[attr-defined]
    unsure = entropy(probabilities(substitute, pool[rest]))
    assert float(entropy(probabilities(substitute, pool[chosen])).min()) == pytest.approx(float(unsure.topk(12).values.min()))


# ---------------------------------------------------------------------------------------------------- adaptive Knockoff


def test_an_arm_gains_by_how_much_better_than_the_average_it_paid() -> None:
    steps = gain(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 2, 2]), 3)
    assert steps.tolist() == pytest.approx([0.866, 0, -0.866], abs=1e-3)


def test_quantiles_are_equal_parts() -> None:
    assert quantile(torch.tensor([0.3, 0.1, 0.2, 0.9]), 2).tolist() == [1, 0, 0, 1]
    assert sorted(torch.bincount(quantile(torch.rand(103), 10)).tolist()) == [10] * 7 + [11] * 3


def test_arms_are_drawn_by_the_policy_and_nothing_twice() -> None:
    arm, left = torch.arange(1000) % 2, torch.ones(1000, dtype=torch.bool)
    left[:100] = False
    drawn = draw(torch.tensor([0.9, 0.1]), arm, left, 200, torch.Generator().manual_seed(0))
    assert len(drawn.unique()) == 200 and int(drawn.min()) >= 100
    assert 0.8 < float((arm[drawn] == 0).float().mean()) < 0.97
    everything = draw(torch.tensor([1.0, 0.0]), arm, left, 900, torch.Generator().manual_seed(0))
    assert len(everything.unique()) == 900  # an arm without preference is still there when the others are empty


class Halves:
    """An oracle that is sure on dark images and undecided on bright ones."""

    def __call__(self, images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3)) > 0.5
        return torch.where(bright[:, None], torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))


class Flat:
    """Learns nothing but how bright an image is: the brighter, the less sure."""

    def fresh(self) -> nn.Module:
        return self.train(TransferSet(torch.empty(0), torch.empty(0)), 0)

    def train(self, transfer: TransferSet, seed: int) -> nn.Module:  # noqa: ARG002
        class Dark(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                dark = 20 * (1 - x.mean((1, 2, 3)))
                return torch.stack([dark, torch.zeros_like(dark)], 1)

        return Dark()


def test_the_bandit_goes_where_the_substitute_is_wrong() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = torch.rand(400, 1, 1, 1, generator=generator).expand(400, 1, 4, 4).contiguous()
    adaptive = AdaptiveKnockoff(rate=3.0).collect(Halves(), pool, 150, Flat(), 0)
    at_random = QUERIES["random"]().collect(Halves(), pool, 150, Flat(), 0)
    share = [float((t.images.mean((1, 2, 3)) > 0.5).float().mean()) for t in (adaptive, at_random)]
    assert share[0] > share[1] + 0.15


def test_unknown_reward() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'loss'"):
        AdaptiveKnockoff(rewards=("los",))


# ------------------------------------------------------------------------------------------------------------ synthetic


def test_a_step_follows_the_sign_of_a_linear_models_weights() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        linear[1].weight.copy_(torch.tensor([[1.0, -1, 2, 0], [0, 0, 0, 0]]))  # type: ignore[operator]
    moved = step_along(linear, torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]), 0.1)
    torch.testing.assert_close(moved.flatten(), torch.tensor([0.6, 0.4, 0.6, 0.5]))
    assert float(step_along(linear, torch.ones(1, 1, 2, 2), torch.tensor([0]), 0.1).max()) == 1


def test_jbda_steps_from_what_was_asked_before(oracle: Oracle) -> None:
    transfer = JBDA(seeds=10).collect(oracle, tiny_task(5).images, 40, Learner(), 0)
    for i in range(10, 40):
        known = transfer.images[: 10 if i < 20 else 20]
        assert float((known - transfer.images[i]).abs().amax((1, 2, 3)).min()) <= 0.1 + 1e-6


def test_targeted_jbda_moves_towards_another_class(victim: nn.Module) -> None:
    images = tiny_task(5).images
    labels = victim(images).argmax(1)
    moved = JBDATargeted(step=0.5).move(victim, images, labels, torch.Generator().manual_seed(0))
    before, after = (probabilities(victim, x).gather(1, labels[:, None]).mean() for x in (images, moved))
    assert float(after) < float(before) - 0.05


def test_erasing_hides_a_rectangle_where_the_substitute_looks(victim: nn.Module) -> None:
    images = tiny_task(5).images
    labels = victim(images).argmax(1)
    looks = attention(victim, images, labels)
    torch.testing.assert_close(looks.sum((1, 2)), torch.ones(len(images)))
    erased = erase_rectangle(images, looks, 0.3)
    share = (erased != images).float().mean((1, 2, 3))
    assert 0 < float(share.max()) <= 0.45  # of whole pixels
    sure = [
        float(probabilities(victim, x).gather(1, labels[:, None]).mean())
        for x in (Dissector().erase(victim, images, labels), erased, images)
    ]
    assert sure[0] < sure[1] < sure[2]


def test_superpixels_follow_colours() -> None:
    images = torch.zeros(2, 1, 12, 12)
    images[:, :, 3:9, 3:9] = 1
    segments = superpixels(images, 9, compactness=0.1)
    assert segments.shape == (2, 12, 12)
    inside, outside = segments[0, 3:9, 3:9].unique(), segments[0][images[0, 0] == 0].unique()
    assert not set(inside.tolist()) & set(outside.tolist())


def test_spsg_moves_one_superpixel_at_a_time(oracle: Oracle) -> None:
    transfer = SPSG(segments=4, steps=3).collect(oracle, tiny_task(5).images, 40, Learner(), 0)
    origins, moved = transfer.images[:10], transfer.images[10:].view(3, 10, 1, 8, 8)
    segments = superpixels(origins, 4)
    for step in moved:
        for before, after, own in zip(origins, step, segments, strict=True):
            changed = own[(before != after)[0]].unique()
            assert len(changed) == 1 and float((before - after).abs().max()) <= 0.3 + 1e-6


@pytest.mark.parametrize("name", MAKING)
def test_a_strategy_that_makes_images_needs_few(name: str, oracle: Oracle) -> None:
    pool = tiny_task(5, 160).images
    assert len(QUERIES[name]().collect(oracle, pool, 170, Learner(), 0)) == 170


def test_answers_and_queries_say_what_they_need() -> None:
    assert all(isinstance(getattr(part, "needs_probabilities", False), bool) for part in [*QUERIES.values(), *ANSWERS.values()])


def test_ordinary_queries_leave_out_what_stands_out_in_any_look(oracle: Oracle) -> None:
    pool = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    pool[3], pool[7] = 1.0, 0.0  # the brightest and the darkest
    pool[11, :, :4] += 0.4  # the heaviest top
    pool[13, :, ::2] = 0.0  # the roughest
    sent = Ordinary(share=0.2).collect(Metered(oracle, 80), pool, 80, Learner(), 0).images
    found = {int((pool == image).flatten(1).all(1).nonzero()) for image in sent}
    assert len(found) == 80 and not found & {3, 7, 11, 13}
    assert len(Ordinary(share=0.2).collect(Metered(oracle, 95), pool, 95, Learner(), 0).images) == 95  # the budget goes first
    with pytest.raises(ParameterError, match="share"):
        Ordinary(share=1.0)
