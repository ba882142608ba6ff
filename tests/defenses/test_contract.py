"""Every defense of the registry keeps the public contract; so does every chain of two."""

import pytest
import torch

from honeyguard.checks import check_defense
from honeyguard.defenses import DEFENSES, Guarantee, Honeypot, ReverseSigmoid, Rounding
from honeyguard.defenses.honeypot.shadow import Shadow
from honeyguard.training import Network, Recipe
from honeyguard.types import Defense, OwnerData, Protected
from honeyguard.verbs import protect

QUICK = Network(model="mlp", arguments={"width": 16}, recipe=Recipe(epochs=2, augment="none"))
SMALL: dict[str, Defense] = {
    "guarantee": Guarantee(defense=ReverseSigmoid(keep_top1=False), max_l1=0.5, max_kl=0.05),
    "honeypot": Honeypot(rounds=2, shadows=(Shadow(network=QUICK),), references=(QUICK,), target_class=1),
    "reverse_sigmoid": ReverseSigmoid(),
    "rounding": Rounding(),
}


def test_every_defense_of_the_registry_is_tested() -> None:
    assert SMALL.keys() == DEFENSES.keys()
    assert all(type(defense) is DEFENSES[name] for name, defense in SMALL.items())


@pytest.mark.parametrize("defense", SMALL.values(), ids=repr)
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
