"""Step 2 of a round: the universal perturbation that moves substitutes of the honeypot and leaves others alone."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.types import Trigger


def update_trigger(
    trigger: Trigger,
    shadows: Sequence[nn.Module],
    references: Sequence[nn.Module],
    kept: Sequence[Tensor],
    images: Tensor,
    *,
    target_class: int,
    contrast: float,
    epsilon: float,
    step: float,
    momentum: float,
    epochs: int,
    augment: Callable[[Tensor], Tensor],
) -> Trigger:
    """δ = argmin E[L(S(x⊕δ), y*) + contrast · mean over references R of L(R(x⊕δ), R(x))], within |δ| ≤ ε.

    Signed gradient descent with momentum over the shadow set (N, C, H, W); `kept` are the references' own labels (N,).
    """
    delta, velocity = trigger.delta, torch.zeros_like(trigger.delta)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(250):
            delta.requires_grad_(True)
            stamped = Trigger(delta, trigger.mask)(augment(images[rows]))
            target = torch.full((len(rows),), target_class)
            loss = torch.stack([F.cross_entropy(shadow(stamped), target) for shadow in shadows]).mean()
            if references:
                others = [F.cross_entropy(reference(stamped), own[rows]) for reference, own in zip(references, kept, strict=True)]
                loss = loss + contrast * torch.stack(others).mean()
            (gradient,) = torch.autograd.grad(loss, delta)
            velocity = momentum * velocity + gradient / gradient.abs().mean().clamp_min(1e-12)
            delta = (delta - step * velocity.sign()).clamp(-epsilon, epsilon).detach()
    return Trigger(delta, trigger.mask)
