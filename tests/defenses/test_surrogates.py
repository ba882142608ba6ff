"""The batched gradients against a loop over rows, classes and parameters; the defenses against their definitions."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from honeyguard.defenses import GRAD2, MAD, AdaptiveMisinformation, ModelGuardS, ReverseSigmoid
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.defenses.modelguard_s import learn_book
from honeyguard.defenses.surrogates import alignment, gram
from honeyguard.errors import DataError, ModelError, ParameterError
from honeyguard.training import Network, Recipe
from honeyguard.types import OwnerData, Protected
from tests.defenses.rows import rows

QUICK = Network(model="lenet", arguments={"width": 4}, recipe=Recipe(epochs=15, batch=16, augment="none", optimiser="adamw", lr=0.003))


def jacobians(network: nn.Module, images: Tensor) -> Tensor:
    """G (N, K, D) by automatic differentiation, one class of one image at a time."""
    parameters = list(network.parameters())
    found = []
    for image in images:
        logs = network(image[None]).log_softmax(1)[0]
        found.append(torch.stack([torch.cat([g.flatten() for g in torch.autograd.grad(p, parameters, retain_graph=True)]) for p in logs]))
    return torch.stack(found) if found else torch.empty(0)


def network_of(model: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    network = Network(model=model, arguments={"width": 3}).fresh(shape, classes, 0)
    network.train()
    for _ in range(3):
        network(torch.rand(16, *shape))  # running statistics of their own
    return network.eval()


@pytest.mark.parametrize("model", ["lenet", "mlp", "cnn", "vgg"])
@pytest.mark.parametrize(("shape", "classes"), [((1, 8, 8), 3), ((3, 9, 12), 7)])
def test_gradients_against_a_loop(model: str, shape: tuple[int, ...], classes: int) -> None:
    network, images, y = network_of(model, shape, classes), torch.rand(5, *shape), rows(5, classes, 0)
    g = jacobians(network, images)
    network.requires_grad_(False)
    torch.testing.assert_close(gram(network, images), g @ g.mT, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alignment(network, images, y), (g @ (g.mT @ y[..., None]))[..., 0], atol=1e-4, rtol=1e-4)


def test_a_surrogate_with_other_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="PReLU"):
        gram(nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.PReLU()), torch.rand(2, 1, 8, 8))


def cosine(g: Tensor, found: Tensor, y: Tensor) -> Tensor:
    """Of the angle between the gradients Gᵀỹ and Gᵀy of one image."""
    return torch.cosine_similarity(g.T @ found, g.T @ y, dim=0)


@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("keep_top1", [False, True])
def test_mad_turns_the_gradient_as_far_as_the_best_corner(k: int, keep_top1: bool) -> None:
    network, images, y = network_of("lenet", (1, 8, 8), k), torch.rand(12, 1, 8, 8), rows(12, k, 1)
    seen = gram(network, images)
    last = torch.eye(k) - 1 / k  # the last layer of an untrained network, up to |h|
    corners = torch.tensor([c for c in itertools.product([0.0, 1.0], repeat=k) if sum(c)]) if keep_top1 else torch.eye(k)
    corners = corners / corners.sum(1, keepdim=True)
    for factors, defense_sees in ((jacobians(network, images), seen), (last.expand(12, k, k), None)):
        found = MAD(epsilon=2, keep_top1=keep_top1).perturb(y, defense_sees)
        for g, a, b in zip(factors, found, y, strict=True):
            allowed = corners[corners[:, b.argmax()] > 0] if keep_top1 else corners
            usable = [corner for corner in allowed if (g.T @ corner).norm() > 1e-3 * g.norm()]
            best = min(float(cosine(g, corner, b)) for corner in usable)
            slack = 5e-3 if keep_top1 else 1e-3  # sets of classes grow greedily; a corner alone is exact
            assert best - 1e-3 <= float(cosine(g, a, b)) <= best + slack


def test_mad_moves_straight_to_the_corner_as_far_as_the_budget_goes() -> None:
    y = torch.tensor([[0.6, 0.3, 0.1]])
    torch.testing.assert_close(MAD(epsilon=0.9, keep_top1=False)(y), 0.5 * y + 0.5 * torch.tensor([[0.0, 0.0, 1.0]]))


def test_grad2_reaches_the_least_inner_product() -> None:
    network, images, y = network_of("lenet", (1, 8, 8), 5), torch.rand(20, 1, 8, 8), rows(20, 5, 2)
    g = jacobians(network, images)
    exact, free = (GRAD2(epsilon=0.6, keep_top1=keep).perturb(y, alignment(network, images, y)) for keep in (True, False))

    def product(found: Tensor) -> Tensor:
        return ((g.mT @ found[..., None]) * (g.mT @ y[..., None])).sum((1, 2))

    assert (product(free) <= product(exact) + 1e-4).all()
    others = torch.softmax(torch.randn(200, 20, 5, generator=torch.Generator().manual_seed(0)), 2)
    for other in others:
        share = (0.6 / (other - y).abs().sum(1, keepdim=True)).clamp_max(1)
        within = y + share * (other - y)
        kept = within.argmax(1) == y.argmax(1)
        assert (product(free) <= product(within) + 1e-4).all()
        assert (product(exact) <= product(within) + 1e-4 * product(y).abs().max())[kept].all()


@pytest.mark.parametrize("defense", [MAD(surrogate=QUICK), GRAD2(surrogate=QUICK), AdaptiveMisinformation(surrogate=QUICK, tau=1)])
def test_with_a_network_the_answers_are_other_ones(
    defense: MAD | GRAD2 | AdaptiveMisinformation, victim: nn.Module, owner: OwnerData
) -> None:
    served = defense.protect(victim, owner)
    images = owner.train.images[:30]
    y = Protected.of(victim).model(images)
    assert not torch.allclose(served.model(images), defense(y), atol=1e-3)
    if isinstance(defense, MAD | GRAD2):
        assert (served.model(images) - y).abs().sum(1).max() <= defense.epsilon + 1e-5
        assert torch.equal(served.model(images).argmax(1), y.argmax(1))
    with pytest.raises(DataError, match="owner's data"):
        defense.protect(victim)


def test_the_misinformation_network_avoids_the_right_class(victim: nn.Module, owner: OwnerData) -> None:
    served = AdaptiveMisinformation(surrogate=QUICK, tau=1, nu=1e6).protect(victim, owner)
    right = served.model(owner.train.images).argmax(1) == owner.train.labels
    assert right.float().mean() < 0.1


def test_a_honeypot_refuses_what_needs_images(victim: nn.Module, owner: OwnerData) -> None:
    served = MAD(surrogate=QUICK).protect(victim, owner).outputs
    layer = HoneypotLayer(victim, owner.shadow_set[:2], owner.train.classes, None)
    with pytest.raises(ParameterError, match="from probabilities alone"):
        layer.answers(torch.rand(2, 16), served)


def test_adaptive_misinformation_spares_sure_answers() -> None:
    y = torch.tensor([[0.9, 0.06, 0.04], [0.4, 0.35, 0.25], [0.5, 0.4, 0.1]])
    expected = torch.tensor([[0.9, 0.06, 0.04], [0.25, 0.35, 0.4], [0.3, 0.4, 0.3]])  # the third lies on the threshold
    torch.testing.assert_close(AdaptiveMisinformation(tau=0.5)(y), expected)


def test_a_learnt_book_covers_what_it_was_learnt_from() -> None:
    y = rows(300, 4, 0)
    book = learn_book(y, 0.5)
    found = ModelGuardS(epsilon=0.5, book=book.tolist())(y)
    assert len(book) < 150
    assert all(any(torch.equal(row, code) for code in book) for row in found)
    assert (found - y).abs().sum(1).max() <= 0.5 + 1e-6
    assert torch.equal(found.argmax(1), y.argmax(1))


def test_the_book_comes_from_the_owners_answers(victim: nn.Module, owner: OwnerData) -> None:
    served = ModelGuardS(epsilon=0.2).protect(victim, owner)
    answers = served.model(owner.train.images)
    (defense,) = served.outputs
    assert isinstance(defense, ModelGuardS)
    assert len(defense.book) == len(answers.unique(dim=0))
    assert len(defense.book) < len(answers)


@pytest.mark.parametrize("k", [2, 5, 50])
def test_without_a_book_few_answers_are_left(k: int) -> None:
    y = torch.softmax(3 * torch.randn(2000, k, generator=torch.Generator().manual_seed(0)), 1)
    assert len(ModelGuardS(epsilon=2)(y).unique(dim=0)) < {2: 5, 5: 60, 50: 2000}[k]


@pytest.mark.parametrize(
    "make",
    [
        lambda: MAD(epsilon=2.1),
        lambda: GRAD2(epsilon=-0.1),
        lambda: ModelGuardS(epsilon=0.0),
        lambda: ModelGuardS(book=[[0.5, 0.4]]),
        lambda: ModelGuardS(book=[[0.5, 0.5], [0.2, 0.3, 0.5]]),
        lambda: AdaptiveMisinformation(tau=1.5),
        lambda: AdaptiveMisinformation(nu=0),
        lambda: ReverseSigmoid(beta=2),
    ],
)
def test_parameters_out_of_range(make: "type") -> None:
    with pytest.raises(ParameterError):
        make()
