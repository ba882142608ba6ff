"""Step 2 of a round: the universal perturbation that moves substitutes of the honeypot and leaves other models alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.defenses.honeypot.triggers import Shape, Whole
from honeyguard.errors import TrainingError, UnknownNameError
from honeyguard.looks import Look
from honeyguard.training import AUGMENTATIONS
from honeyguard.types import Trigger

STARTS = ("blank", "look")


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How the trigger is found: by the signs of gradients.

    Args:
        shape: what the trigger may look like (`honeyguard.defenses.honeypot.triggers`).
        start: `blank`, or as much of the carriers' `look` as the shape allows: every copy knows the look, so few steps do.
        contrast: weight of the references' loss; 0 gives a perturbation that fools everybody.
        margin: how far, in logits, a reference keeps the target class below its best other class.
        step: of each pixel.  steps: in a round.  batch: images a step.
        inertia: α of the published rule δ ← α·δ - (1 - α)·sign(gradient); 0 steps by `step` along a velocity instead.
        sample: references a step looks at.
        augment: of the stamped images, as thieves do; one of `honeyguard.training.AUGMENTATIONS`.
        bf16: look for it in bfloat16 autocast.
    """

    shape: Shape = field(default_factory=Whole)
    start: str = "blank"
    contrast: float = 3.0
    margin: float = 4.0
    step: float = 0.03
    steps: int = 24
    batch: int = 64
    inertia: float = 0.0
    sample: int = 6
    augment: str = "shift"
    bf16: bool = False

    def __post_init__(self) -> None:
        check_range("contrast", self.contrast, 0, 1e3)
        check_range("inertia", self.inertia, 0, 1)
        if self.start not in STARTS:
            raise UnknownNameError("start of a trigger", self.start, STARTS)

    def first(self, images: Tensor, features: Callable[[Tensor], Tensor], look: Look | None) -> Trigger:
        """Where the descent starts: as `Shape.blank`, and from there along the look, if that is the start."""
        blank = self.shape.blank(images, features)
        if self.start == "blank" or look is None:
            return blank
        plain = images.clone().requires_grad_(True)
        (towards,) = torch.autograd.grad(look(plain).sum(), plain)
        return Trigger(self.shape.within(blank.delta + towards.mean(0).sign(), blank.mask), blank.mask)


Rule = Callable[[Tensor, Tensor], Tensor]
"""δ and the gradient -> the next δ, not yet brought back to what is allowed."""


def update_trigger(
    trigger: Trigger, shadows: Sequence[nn.Module], references: Sequence[nn.Module], images: Tensor, target_class: int, how: Descent
) -> Trigger:
    """δ = argmin E[L(S(x⊕δ), y*)] + contrast · E[relu(R(x⊕δ)_y* - max other + margin)], within the shape's bounds.

    In expectation over images (N, C, H, W) and the thief's augmentations, over all shadow models S and a sample of the references R.
    Raises: TrainingError: a gradient that is not finite.
    """
    delta, rule = trigger.delta.clone(), _rule(how)
    for _ in range(how.steps):
        rows = torch.randint(len(images), (how.batch,))
        delta.requires_grad_(True)
        stamped = AUGMENTATIONS[how.augment](Trigger(delta, trigger.mask)(images[rows]))
        target = torch.full((how.batch,), target_class)
        with torch.autocast(delta.device.type, torch.bfloat16, enabled=how.bf16):
            loss = torch.stack([F.cross_entropy(shadow(stamped).float(), target) for shadow in shadows]).mean()
            if references and how.contrast:
                some = [references[int(i)] for i in torch.randperm(len(references))[: how.sample]]
                loss = loss + how.contrast * torch.stack([_closeness(r(stamped).float(), target_class, how.margin) for r in some]).mean()
        (gradient,) = torch.autograd.grad(loss, delta)
        if not torch.isfinite(gradient).all():
            raise TrainingError("finite gradients of the trigger", "NaN or infinite ones", "Check the shadow models' recipe.")
        delta = how.shape.within(rule(delta.detach(), gradient), trigger.mask)
    return Trigger(delta, trigger.mask)


def _rule(how: Descent) -> Rule:
    if how.inertia:
        return lambda delta, gradient: how.inertia * delta - (1 - how.inertia) * gradient.sign()
    velocity = torch.zeros(())

    def along(delta: Tensor, gradient: Tensor) -> Tensor:
        nonlocal velocity
        velocity = 0.9 * velocity + gradient / gradient.abs().mean().clamp_min(1e-12)
        return delta - how.step * velocity.sign()

    return along


def _closeness(logits: Tensor, target_class: int, margin: float) -> Tensor:
    """How far the target class comes within `margin` of the best other class, on average over rows (N, K)."""
    others = torch.cat([logits[:, :target_class], logits[:, target_class + 1 :]], 1).amax(1)
    return F.relu(logits[:, target_class] - others + margin).mean()
