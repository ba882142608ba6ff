"""Step 2 of a round: the universal perturbation that moves substitutes of the honeypot and leaves other models alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.training import AUGMENTATIONS
from honeyguard.types import Trigger


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How the trigger is found: signed gradient descent with momentum.

    Args:
        epsilon: bound ε of |δ|, in pixel units from 0 to 1.
        contrast: weight of the references' loss; 0 gives a perturbation that fools everybody.
        margin: how far, in logits, a reference keeps the target class below its best other class.
        step: of each pixel.  steps: in a round.  batch: images a step.
        sample: references a step looks at.
        augment: of the stamped images, as thieves do; one of `honeyguard.training.AUGMENTATIONS`.
    """

    epsilon: float = 0.6
    contrast: float = 3.0
    margin: float = 4.0
    step: float = 0.03
    steps: int = 24
    batch: int = 64
    sample: int = 6
    augment: str = "shift"

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 1e-3, 1)
        check_range("contrast", self.contrast, 0, 1e3)


def update_trigger(
    trigger: Trigger, shadows: Sequence[nn.Module], references: Sequence[nn.Module], images: Tensor, target_class: int, how: Descent
) -> Trigger:
    """δ = argmin E[L(S(x⊕δ), y*)] + contrast · E[relu(R(x⊕δ)_y* - max other + margin)], within |δ| ≤ ε.

    In expectation over images (N, C, H, W) and the thief's augmentations, over all shadow models S and a sample of the references R.
    """
    delta, velocity = trigger.delta.clone(), torch.zeros_like(trigger.delta)
    for _ in range(how.steps):
        rows = torch.randint(len(images), (how.batch,))
        delta.requires_grad_(True)
        stamped = AUGMENTATIONS[how.augment](Trigger(delta, trigger.mask)(images[rows]))
        target = torch.full((how.batch,), target_class)
        loss = torch.stack([F.cross_entropy(shadow(stamped), target) for shadow in shadows]).mean()
        if references and how.contrast:
            some = [references[int(i)] for i in torch.randperm(len(references))[: how.sample]]
            loss = loss + how.contrast * torch.stack([_closeness(r(stamped), target_class, how.margin) for r in some]).mean()
        (gradient,) = torch.autograd.grad(loss, delta)
        velocity = 0.9 * velocity + gradient / gradient.abs().mean().clamp_min(1e-12)
        delta = (delta - how.step * velocity.sign()).clamp(-how.epsilon, how.epsilon).detach()
    return Trigger(delta, trigger.mask)


def _closeness(logits: Tensor, target_class: int, margin: float) -> Tensor:
    """How far the target class comes within `margin` of the best other class, on average over rows (N, K)."""
    others = torch.cat([logits[:, :target_class], logits[:, target_class + 1 :]], 1).amax(1)
    return F.relu(logits[:, target_class] - others + margin).mean()
