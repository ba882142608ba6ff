from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from honeyguard import artifacts
from honeyguard.benchmark.spec import made
from honeyguard.checks import SHAPE, tiny_task
from honeyguard.defenses import DEFENSES, MAD, Guarantee, ModelGuardS, ReverseSigmoid, Rounding
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ParameterError
from honeyguard.training import Network, Recipe
from honeyguard.types import OwnerData


@dataclass(frozen=True, kw_only=True)
class Uniform(OutputDefense):
    def __call__(self, probabilities: Tensor) -> Tensor:
        return torch.full_like(probabilities, 1 / probabilities.shape[1])


@dataclass(frozen=True, kw_only=True)
class Reversed(OutputDefense):
    """The least likely class gets what the most likely had."""

    def __call__(self, probabilities: Tensor) -> Tensor:
        order = probabilities.argsort(1)
        return probabilities.scatter(1, order, probabilities.gather(1, order.flip(1)))


def kl(y: Tensor, z: Tensor) -> Tensor:
    y, z = y.double(), z.double().clamp_min(1e-38)  # what float32 holds no longer counts as little, not as nothing
    return torch.where(y > 0, y * (y / z).log(), 0).sum(1)


@settings(max_examples=100, deadline=None)
@given(
    defense=st.sampled_from([Uniform(), Reversed(), ReverseSigmoid(beta=1, gamma=0.1, keep_top1=False), Rounding()]),
    k=st.integers(2, 300),
    scale=st.floats(0, 30),
    max_l1=st.none() | st.floats(1e-3, 2),
    max_kl=st.none() | st.floats(1e-3, 3),
    seed=st.integers(0, 99),
)
def test_promises_are_kept(defense: OutputDefense, k: int, scale: float, max_l1: float | None, max_kl: float | None, seed: int) -> None:
    y = torch.softmax(scale * torch.randn(20, k, generator=torch.Generator().manual_seed(seed)), 1)
    y[:2] = torch.eye(k)[:2]
    found = Guarantee(defense=defense, max_l1=max_l1, max_kl=max_kl)(y)
    assert torch.equal(y.gather(1, found.argmax(1, keepdim=True)), y.amax(1, keepdim=True))  # of tied classes, any is the top
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(20), atol=1e-5, rtol=0)
    assert ((found - y).abs().sum(1) <= (max_l1 or 2) + 1e-6).all()
    assert (kl(y, found) <= (max_kl or torch.inf) + 1e-6).all()


def test_no_row_is_pulled_further_than_its_promise_needs() -> None:
    y = torch.softmax(3 * torch.randn(200, 7, generator=torch.Generator().manual_seed(0)), 1)
    full = (Uniform()(y) - y).abs().sum(1)
    found = Guarantee(defense=Uniform(), max_l1=0.3)(y)
    torch.testing.assert_close((found - y).abs().sum(1), full.clamp_max(0.3), atol=2e-6, rtol=0)
    found = Guarantee(defense=Uniform(), max_kl=0.1)(y)
    torch.testing.assert_close(kl(y, found).float(), kl(y, Uniform()(y)).float().clamp_max(0.1), atol=5e-6, rtol=0)
    found = Guarantee(defense=Reversed())(y)
    top2 = found.topk(2).values
    torch.testing.assert_close(top2[:, 0], top2[:, 1], atol=2e-6, rtol=0)  # as far as the top class allows


def test_without_a_binding_promise_nothing_changes() -> None:
    y = torch.softmax(torch.randn(50, 5, generator=torch.Generator().manual_seed(1)), 1)
    torch.testing.assert_close(Guarantee(defense=Rounding(), max_l1=2)(y), Rounding()(y), atol=1e-6, rtol=0)
    assert Guarantee(defense=Rounding())(y[:0]).shape == (0, 5)


def test_it_is_stored_with_the_defense_within(victim: nn.Module, tmp_path: Path) -> None:
    guarantee = Guarantee(defense=ReverseSigmoid(beta=0.5), max_l1=0.25)
    artifacts.save(guarantee.protect(victim), tmp_path / "guarded", shape=SHAPE, names=tuple("abcd"))
    loaded, manifest = artifacts.load(tmp_path / "guarded")
    assert loaded.outputs == (guarantee,)
    assert manifest["defenses"][0]["parameters"]["defense"] == {
        "name": "ReverseSigmoid",
        "parameters": {"beta": 0.5, "gamma": 0.2, "keep_top1": True},
    }
    images = tiny_task(3).images
    torch.testing.assert_close(loaded.model(images), guarantee.protect(victim).model(images))


def test_a_suite_names_it() -> None:
    entry = {"name": "guarantee", "defense": {"name": "reverse_sigmoid", "beta": 1.0}, "max_l1": 1}
    assert made("defense", DEFENSES, entry) == Guarantee(defense=ReverseSigmoid(beta=1.0), max_l1=1.0)


@pytest.mark.parametrize("limits", [{"keep_top1": False}, {"max_l1": 0.0}, {"max_l1": 2.5}, {"max_kl": -1.0}])
def test_promises_out_of_range(limits: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        Guarantee(defense=Rounding(), **limits)  # type: ignore[arg-type]


def test_what_its_defense_learns_is_learnt_and_what_needs_images_is_refused(victim: nn.Module, owner: OwnerData) -> None:
    (served,) = Guarantee(defense=ModelGuardS(), max_l1=0.5).protect(victim, owner).outputs
    assert isinstance(served, Guarantee) and isinstance(served.defense, ModelGuardS) and len(served.defense.book)
    network = Network(model="mlp", arguments={"width": 4}, recipe=Recipe(epochs=1, batch=16, augment="none"))
    with pytest.raises(ParameterError, match="probabilities alone"):
        Guarantee(defense=MAD(surrogate=network)).protect(victim, owner)
