"""Every defense of the registry keeps the public contract; so does every chain of two."""

import pytest
import torch

from honeyguard.checks import check_defense
from honeyguard.defenses import (
    DEFENSES,
    GRAD2,
    MAD,
    AdaptiveMisinformation,
    GaussianNoise,
    Guarantee,
    Honeypot,
    LabelOnly,
    LinearHoneypot,
    ModelGuardS,
    ModelGuardW,
    ReverseSigmoid,
    Rounding,
    TopK,
)
from honeyguard.defenses.honeypot.shadow import Shadow
from honeyguard.training import Network, Recipe
from honeyguard.types import Defense, OwnerData, Protected
from honeyguard.verbs import protect

QUICK = Network(model="mlp", arguments={"width": 16}, recipe=Recipe(epochs=2, batch=16, augment="none"))
SMALL: dict[str, Defense] = {
    "adaptive_misinformation": AdaptiveMisinformation(),
    "gaussian_noise": GaussianNoise(),
    "grad2": GRAD2(),
    "guarantee": Guarantee(defense=ReverseSigmoid(keep_top1=False), max_l1=0.5, max_kl=0.05),
    "honeypot": Honeypot(rounds=2, shadows=(Shadow(network=QUICK),), references=(QUICK,), target_class=1),
    "label_only": LabelOnly(),
    "linear_honeypot": LinearHoneypot(rounds=1, shadows=(Shadow(network=QUICK),), references=(QUICK,), target_class=1),
    "mad": MAD(),
    "modelguard_s": ModelGuardS(),
    "modelguard_w": ModelGuardW(),
    "reverse_sigmoid": ReverseSigmoid(),
    "rounding": Rounding(),
    "top_k": TopK(),
}


def test_every_defense_of_the_registry_is_tested() -> None:
    assert SMALL.keys() == DEFENSES.keys()
    assert all(type(defense) is DEFENSES[name] for name, defense in SMALL.items())


WITH_NETWORKS: list[Defense] = [kind(surrogate=QUICK) for kind in (AdaptiveMisinformation, GRAD2, MAD)]


@pytest.mark.parametrize("defense", [*SMALL.values(), *WITH_NETWORKS], ids=repr)
def test_contract(defense: Defense) -> None:
    check_defense(defense)


def test_a_chain_is_its_parts_in_order(victim: torch.nn.Module, owner: OwnerData) -> None:
    one = protect(victim, owner, SMALL["honeypot"])
    both = protect(victim, owner, SMALL["honeypot"], ReverseSigmoid(beta=0.5))
    images = owner.train.images[:9]
    assert torch.allclose(both.model(images), ReverseSigmoid(beta=0.5)(one.model(images)))
    assert one.key is not None
    assert both.key is not None
    assert both.key.commitment == one.key.commitment


def test_nothing_is_a_defense_too(victim: torch.nn.Module, owner: OwnerData) -> None:
    bare = protect(victim, owner)
    assert torch.equal(bare.model(owner.train.images), victim.eval()(owner.train.images).softmax(1))
    assert bare.key is None
    assert isinstance(bare, Protected)
