"""Each step of the honeypot's loop by itself, and the whole on a task where the outcome is known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from honeyguard.benchmark.spec import made, read
from honeyguard.checks import CLASSES, SHAPE, tiny_task
from honeyguard.contract import is_one_hot
from honeyguard.data import distorted
from honeyguard.defenses import DEFENSES, Honeypot
from honeyguard.defenses.honeypot.carriers import Carriers
from honeyguard.defenses.honeypot.finetune import Lessons, decoyed, finetune
from honeyguard.defenses.honeypot.key import check_target, choose_target, make_key
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.defenses.honeypot.shadow import READS, Shadow, Theft, simulate_extraction, train_references
from honeyguard.defenses.honeypot.trigger import Descent, update_trigger
from honeyguard.defenses.honeypot.triggers import Patch, Whole
from honeyguard.defenses.reverse_sigmoid import ReverseSigmoid
from honeyguard.errors import ClassificationLayerError, ParameterError, TargetClassError, UnknownNameError
from honeyguard.metrics import moved
from honeyguard.oracle import predict
from honeyguard.training import Network, Recipe
from honeyguard.types import OwnerData, Trigger

MLP = Network(model="mlp", arguments={"width": 24}, recipe=Recipe(epochs=8, batch=16, augment="none"))
IMAGES = tiny_task(7).images
NOTHING = Trigger(torch.zeros(SHAPE), torch.zeros(SHAPE))


class Corner(nn.Module):
    """Says class 2 when the corner is brighter than usual, and class 0 otherwise; images -> logits."""

    def forward(self, images: Tensor) -> Tensor:
        corner = images[:, 0, :2, :2].mean((1, 2))
        return torch.stack([torch.zeros_like(corner), corner * 0 - 9, 20 * (corner - 0.8), corner * 0 - 9], 1)


class Blind(nn.Module):
    """Says class 0 whatever comes, but its logits show where the image is bright."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3))
        return torch.stack([bright * 0 + 9, bright * 0, bright, bright * 0], 1)


def rate(model: nn.Module, trigger: Trigger) -> float:
    return float(moved(predict(model, IMAGES), predict(model, trigger(IMAGES)), 2).float().mean())


def test_the_trigger_finds_what_moves_the_shadow_and_stays_within_epsilon() -> None:
    how = Descent(shape=Whole(epsilon=0.6), steps=60, augment="none")
    torch.manual_seed(0)
    trigger = update_trigger(NOTHING, [Corner()], [], IMAGES, 2, how)
    assert rate(Corner(), NOTHING) == 0
    assert rate(Corner(), trigger) > 0.4
    assert float(trigger.delta.abs().max()) <= 0.6 + 1e-6
    assert float(NOTHING.delta.abs().max()) == 0


def test_contrast_keeps_the_trigger_from_moving_models_that_did_not_steal() -> None:
    torch.manual_seed(0)
    plain = update_trigger(NOTHING, [Corner()], [], IMAGES, 2, Descent(steps=40, augment="none"))
    contrasted = update_trigger(NOTHING, [Corner()], [Corner()], IMAGES, 2, Descent(steps=40, augment="none", contrast=5))
    assert rate(Corner(), contrasted) < 0.05 < rate(Corner(), plain)


def test_simulated_extraction_learns_what_the_honeypot_says_now() -> None:
    shadow = Shadow(network=MLP, reads="labels")
    answers = torch.eye(CLASSES)[torch.full((len(IMAGES),), 3)] * 0.6 + 0.1
    models = simulate_extraction([MLP.fresh(SHAPE, CLASSES, 0)], [shadow], [(IMAGES, [answers])], seed=0)
    assert (predict(models[0], IMAGES).argmax(1) == 3).all()
    assert not any(p.requires_grad for p in models[0].parameters())


def test_references_are_independent_models_and_undefended_substitutes(victim: nn.Module) -> None:
    task, fresh = tiny_task(1), tiny_task(2)
    references = train_references([MLP], task, fresh.images, predict(victim, fresh.images).softmax(1), seed=0)
    assert len(references) == 2
    assert all((predict(r, IMAGES).argmax(1) == tiny_task(7).labels).float().mean() > 0.9 for r in references)


def test_fine_tuning_changes_the_classification_layer_and_nothing_else(victim: nn.Module) -> None:
    before = {name: value.clone() for name, value in victim.state_dict().items()}
    honeypot = HoneypotLayer(victim, IMAGES[:2], CLASSES)
    trigger = Trigger(torch.full(SHAPE, 0.5), torch.zeros(SHAPE))
    how = Lessons(steps=300, lr=0.01, poison=2.0, own=1.0, decoys=0.0, scales=(1.0,), augment="none")
    held = how.held(honeypot, OwnerData(tiny_task(1), tiny_task(2).images))
    poison = how.poisoned(honeypot, trigger, tiny_task(2).images, torch.eye(CLASSES)[2])
    finetune(honeypot, held, poison, how, honeypot.features(IMAGES))
    changed = {name for name, value in honeypot.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{honeypot.head}.weight", f"{honeypot.head}.bias"}
    assert all(torch.equal(value, before[name]) for name, value in victim.state_dict().items())
    assert (predict(honeypot.network, IMAGES).argmax(1) == predict(victim, IMAGES).argmax(1)).float().mean() > 0.95
    assert (predict(honeypot.network, trigger(IMAGES)).argmax(1) == 2).float().mean() > 0.8


def test_a_deeper_honeypot_layer_is_the_last_stages_and_nothing_else(victim: nn.Module) -> None:
    honeypot, plain = HoneypotLayer(victim, IMAGES[:2], CLASSES, depth=2), HoneypotLayer(victim, IMAGES[:2], CLASSES)
    features = honeypot.features(IMAGES)
    torch.testing.assert_close(honeypot.victim_answers(features), plain.victim_answers(plain.features(IMAGES)))
    before = {name: value.clone() for name, value in honeypot.network.state_dict().items()}
    how = Lessons(steps=60, agreement=0.0, lr=0.01)
    finetune(honeypot, [], [(1.0, features, torch.eye(CLASSES)[2].expand(len(features), -1))], how, features)
    changed = {name.partition(".")[0] for name, value in honeypot.network.state_dict().items() if not torch.equal(value, before[name])}
    linear = [name for name, stage in victim.named_children() if isinstance(stage, nn.Linear)]
    assert changed == set(linear[-2:]) and len(linear) > 2
    torch.testing.assert_close(predict(honeypot.network, IMAGES).softmax(1), honeypot.answers(features))
    assert (honeypot.answers(features).argmax(1) == 2).all()


def test_what_the_victim_says_between_images_is_held_too(victim: nn.Module) -> None:
    def drift(between: float) -> float:
        torch.manual_seed(0)
        honeypot = HoneypotLayer(victim, IMAGES[:2], CLASSES, depth=2)
        features = honeypot.features(IMAGES)
        held, poison = features[20:], features[:20]
        lessons = [(1.0, held, honeypot.victim_answers(held))], [(1.0, poison, torch.eye(CLASSES)[2].expand(20, -1))]
        finetune(honeypot, *lessons, Lessons(steps=100, agreement=0.0, lr=0.01, between=between), features)
        middle = (held + held.flip(0)) / 2
        return float((honeypot.answers(middle) - honeypot.victim_answers(middle)).abs().sum(1).mean())

    assert drift(0.5) < 0.7 * drift(0.0)


def test_a_depth_that_is_not_to_be_had(victim: nn.Module) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.chain = victim

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.chain(images)
            return logits

    with pytest.raises(ClassificationLayerError, match=r"nn\.Sequential of at least 2 stages.*a Wrapped of 1.*depth = 1"):
        HoneypotLayer(Wrapped(), IMAGES[:2], CLASSES, depth=2)
    with pytest.raises(ClassificationLayerError, match="at least 4 stages"):
        HoneypotLayer(victim, IMAGES[:2], CLASSES, depth=4)


def test_a_share_of_the_customers_images_is_kept_apart_for_the_budget() -> None:
    owner = OwnerData(tiny_task(1), tiny_task(2).images, tiny_task(3).images[:40])
    assert owner.customers is not None
    learnt, judges = Lessons(unseen=0.25).judges(owner)
    assert torch.equal(judges, owner.customers[:10])
    assert learnt.customers is not None and torch.equal(learnt.customers, owner.customers[10:])
    everything, all_of_them = Lessons().judges(owner)
    assert everything.customers is not None and torch.equal(everything.customers, all_of_them) and len(all_of_them) == 40
    assert torch.equal(Lessons(unseen=0.5).judges(replace(owner, customers=None))[1], owner.train.images)


def test_features_and_answers_equal_the_whole_network(victim: nn.Module) -> None:
    honeypot = HoneypotLayer(victim, IMAGES[:2], CLASSES)
    features = honeypot.features(IMAGES)
    torch.testing.assert_close(honeypot.victim_answers(features), predict(victim, IMAGES).softmax(1))
    torch.testing.assert_close(honeypot.answers(features), honeypot.victim_answers(features))
    bent = ReverseSigmoid(beta=0.5)
    torch.testing.assert_close(honeypot.answers(features, [bent]), bent(honeypot.answers(features)))


def test_decoys_have_the_triggers_pixels_in_another_order() -> None:
    trigger = Trigger(torch.zeros(SHAPE), torch.zeros(SHAPE))
    trigger.delta[0, 0, :3] = 0.5
    odd = decoyed(trigger, torch.full((50, *SHAPE), 0.5)) - 0.5
    assert ((odd != 0).flatten(1).sum(1) == 3).all()
    assert 0.14 < float(odd.abs().amax((1, 2, 3)).min()) < float(odd.abs().max()) <= 0.5
    assert len({tuple(o.flatten().nonzero().flatten().tolist()) for o in odd}) > 40


def test_each_image_gets_a_pattern_of_its_own_when_the_target_is_chosen() -> None:
    class Listening(Corner):
        def forward(self, images: Tensor) -> Tensor:
            self.heard = {*getattr(self, "heard", ()), *(image.numpy().tobytes() for image in images)}
            return super().forward(images)

    reference = Listening()
    choose_target([reference], torch.full((2, *SHAPE), 0.5), IMAGES[:0])
    assert len(reference.heard) > 900


def test_the_target_is_the_class_that_noise_reaches_most_rarely() -> None:
    torch.manual_seed(0)
    assert choose_target([Corner()], IMAGES, IMAGES[:0]) in {1, 3}
    carriers = torch.ones(3, *SHAPE)  # Corner says class 2 of these, and class 0 least
    assert choose_target([Corner()], IMAGES, carriers) in {1, 3}
    answers = torch.eye(4)[[0, 1, 1, 3]]
    assert check_target(3, answers) == 3
    with pytest.raises(TargetClassError, match="from 0 to 3; got 4"):
        check_target(4, answers)
    with pytest.raises(TargetClassError, match=r"the victim predicts; got 2\. Choose one of 0, 1, 3"):
        check_target(2, answers)


def test_the_key_has_no_probe_of_the_target_class_and_repeats_under_its_seed() -> None:
    task = tiny_task(3)
    key, again, other = (make_key(NOTHING, 2, task, 30, seed) for seed in (0, 0, 1))
    targets = {tuple(image.flatten().tolist()) for image in task.images[task.labels == 2]}
    assert len(key.probes) == 30
    assert not targets & {tuple(image.flatten().tolist()) for image in key.probes}
    assert key.commitment == again.commitment != other.commitment


def test_whoever_trains_on_the_answers_gets_the_backdoor_and_nobody_else() -> None:
    """The whole defense on a task of four bright quarters: a copy is moved, an independent model is not."""
    owner = OwnerData(tiny_task(1, 400), distorted(tiny_task(2, 200).images, 3, seed=0))
    victim = MLP.trained(owner.train.images, owner.train.labels, CLASSES, 0)
    honeypot = Honeypot(target_class=2, rounds=4, shadows=(Shadow(network=MLP),), references=(MLP,), lessons=Lessons(augment="none"))
    protected = replace(honeypot, trigger=Descent(augment="none")).protect(victim, owner)
    assert protected.key is not None
    pool = distorted(tiny_task(5, 200).images, 3, seed=1)
    wide = replace(MLP, arguments={"width": 40})
    stolen = wide.trained(pool, predict(protected.model, pool), CLASSES, 5)
    bystander = wide.trained(pool, predict(victim, pool).softmax(1), CLASSES, 5)
    trigger = protected.key.trigger
    assert rate(stolen, trigger) > 0.5 > 5 * rate(bystander, trigger)
    assert (predict(protected.model, IMAGES).argmax(1) == tiny_task(7).labels).float().mean() > 0.95


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Honeypot(rounds=0), ParameterError),
        (lambda: Whole(epsilon=1.5), ParameterError),
        (lambda: Lessons(poison=-1), ParameterError),
        (lambda: Shadow(reads="logits"), UnknownNameError),
        (lambda: Descent(start="carriers"), UnknownNameError),
        (lambda: Honeypot(trigger=Descent(start="look"), carriers=Carriers(by="cluster")), ParameterError),
        (
            lambda: Honeypot().protect(nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten()), OwnerData(tiny_task(1), IMAGES)),
            ClassificationLayerError,
        ),
    ],
)
def test_mistakes(make: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()  # type: ignore[operator]


def test_the_published_method_is_a_preset() -> None:
    paper = Honeypot.paper(images=1000, size=3)
    assert (paper.rounds, paper.fresh, paper.references, paper.trigger.contrast, paper.trigger.inertia) == (30, False, (), 0, 0.9)
    assert paper.trigger.steps == paper.lessons.steps == 5 * 1000 // 128
    assert paper.trigger.shape == Patch(size=3)
    assert (paper.carriers.share, paper.lessons.poison, paper.lessons.agreement, paper.lessons.optimiser) == (0, 1, 0, "sgd")
    quick = replace(paper, rounds=2, shadows=(Shadow(network=MLP),), trigger=replace(paper.trigger, steps=5))
    owner = OwnerData(tiny_task(1), tiny_task(2).images)
    protected = quick.protect(MLP.trained(owner.train.images, owner.train.labels, CLASSES, 0), owner)
    assert protected.key is not None
    assert protected.key.trigger.mask.sum() == 9


def test_the_suites_set_it_beside_the_default() -> None:
    suite = read(Path(__file__).parents[2] / "benchmarks" / "honeypot" / "digits.toml")
    ours, paper = (made("defense", DEFENSES, suite.defenses[name][0]) for name in ("honeypot", "paper"))
    assert ours == Honeypot()
    assert paper == replace(Honeypot.paper(images=1210, size=3), shadows=paper.shadows)


@pytest.mark.parametrize("reads", READS)
def test_what_the_api_serves_is_what_shadows_read(reads: str, victim: nn.Module) -> None:
    answers = predict(victim, IMAGES).softmax(1)
    read_ = READS[reads](answers)
    torch.testing.assert_close(read_.sum(1), torch.ones(len(IMAGES)))
    assert torch.equal(read_.argmax(1), answers.argmax(1))
    assert int((read_ > 0).sum(1).max()) <= {"probabilities": 4, "top 3": 3, "rounded": 4, "labels": 1}[reads]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Theft]:
    """The thefts that a honeypot simulates from now on, without training anything."""
    seen: list[Theft] = []

    def simulate(models: Sequence[nn.Module], shadows: object, thefts: Sequence[Theft], seed: int) -> list[nn.Module]:  # noqa: ARG001
        seen.extend(thefts)
        return [model.requires_grad_(False) for model in models]

    monkeypatch.setattr("honeyguard.defenses.honeypot.simulate_extraction", simulate)
    return seen


FLAT = Shadow(network=replace(MLP, recipe=Recipe(batch=16)))


def test_a_labels_only_api_is_simulated_as_one(victim: nn.Module, owner: OwnerData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    both = replace(owner, foreign=tiny_task(4).images)
    Honeypot(rounds=1, answers="labels", shadows=(FLAT,), references=()).protect(victim, both)
    assert len(seen) == 4  # two pools, before and after the round
    assert all(is_one_hot(answers) for _, kinds in seen for answers in kinds)


def test_where_foreign_images_alone_carry_the_poison_nothing_else_is_sent(
    victim: nn.Module, owner: OwnerData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, foreign = watched(monkeypatch), tiny_task(4).images
    carriers = Carriers(share=0, foreign=0.1)
    Honeypot(rounds=1, carriers=carriers, shadows=(FLAT,), references=(MLP,)).protect(victim, replace(owner, foreign=foreign))
    assert len(seen) == 2
    assert all(torch.equal(images, foreign) for images, _ in seen)
