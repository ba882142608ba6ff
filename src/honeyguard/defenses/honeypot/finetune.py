"""Step 3 of a round: fine-tune the honeypot layer, and nothing else, on cached features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def finetune(
    layer: nn.Linear, clean: Tensor, answers: Tensor, stamped: Tensor, *, target_class: int, poison: float, lr: float, epochs: int
) -> nn.Linear:
    """θ_H = argmin E[L(H(x), F(x)) + λ · L(H(x⊕δ), y*)].

    Args:
        clean: features (N, D) of clean images, with the victim's answers (N, K).
        stamped: features (M, D) of images with the trigger.
        poison: λ, weight of the second loss.
    """
    optimiser = torch.optim.SGD(layer.parameters(), lr, momentum=0.9)
    for _ in range(epochs):
        for rows in torch.randperm(len(clean)).split(128):
            poisoned = stamped[torch.randint(len(stamped), (len(rows),))]
            loss = F.cross_entropy(layer(clean[rows]), answers[rows])
            loss = loss + poison * F.cross_entropy(layer(poisoned), torch.full((len(rows),), target_class))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return layer
