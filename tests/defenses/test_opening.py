"""Of several openings the one whose theft goes best is taken, judged on copies that a trigger was not made on."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from honeyguard.checks import CLASSES, tiny_task
from honeyguard.defenses.honeypot.carriers import Carriers
from honeyguard.defenses.honeypot.finetune import Lessons
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.defenses.honeypot.opening import Opener
from honeyguard.defenses.honeypot.trigger import Descent
from honeyguard.types import OwnerData

CORNERS = ((slice(0, 3), slice(0, 3)), (slice(5, 8), slice(5, 8)))


class Bright(nn.Module):
    """Says class 2 when one corner is brighter than usual, and class 0 otherwise; images -> logits."""

    def __init__(self, corner: int) -> None:
        super().__init__()
        self.rows, self.columns = CORNERS[corner]

    def forward(self, images: Tensor) -> Tensor:
        corner = images[:, 0, self.rows, self.columns].mean((1, 2))
        return torch.stack([torch.zeros_like(corner), corner * 0 - 9, 20 * (corner - 0.8), corner * 0 - 9], 1)


def opener(thefts: list[list[nn.Module]], openings: int) -> Opener:
    lessons, trigger = Lessons(steps=5, augment="none"), Descent(steps=40, augment="none", contrast=0)
    return Opener(Carriers(openings=openings, share=0.05), lessons, trigger, 2, 0, lambda _honeypot, turn: thefts[turn])


def test_the_opening_whose_copies_are_alike_wins(victim: nn.Module, owner: OwnerData) -> None:
    thefts: list[list[nn.Module]] = [[Bright(0), Bright(1)], [Bright(0), Bright(0)], [Bright(1), Bright(0)]]
    honeypot = HoneypotLayer(victim, owner.shadow_set[:2], CLASSES)
    customers = honeypot.features(tiny_task(3).images)
    best = opener(thefts, 3).best(honeypot, [victim], owner, customers)
    assert best.stolen > 0.4
    assert all(torch.equal(value, best.layer[name]) for name, value in honeypot.state().items())
    odd = replace(opener(thefts, 3), carriers=Carriers(openings=2, share=0.05)).opened(0, honeypot, [victim], owner, customers)
    assert odd.stolen < 0.2  # each copy looks elsewhere: what moves one does not move the other
    assert float(odd.trigger.delta.abs().max()) > 0


def test_a_single_opening_steals_nothing(victim: nn.Module, owner: OwnerData) -> None:
    honeypot = HoneypotLayer(victim, owner.shadow_set[:2], CLASSES)
    only = opener([], 1).best(honeypot, [victim], owner, honeypot.features(tiny_task(3).images))
    assert only.stolen == pytest.approx(0)
    assert float(only.trigger.delta.abs().max()) == 0
    assert len(only.carriers) == 1
