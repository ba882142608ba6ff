"""The honeypot layer: a copy of the victim whose classification layer alone is fine-tuned."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from honeyguard.errors import ParameterError
from honeyguard.models import find_head, head_features
from honeyguard.types import OutputDefense


class HoneypotLayer:
    """A copy of the victim on a frozen backbone; images become features (N, D) once, and the rest is a linear layer.

    Args:
        victim: the network; it stays as it is.
        sample: images (N, C, H, W) to find the classification layer with.
        classes: K.
        head: dotted path of the layer; None finds it.
    """

    def __init__(self, victim: nn.Module, sample: Tensor, classes: int, head: str | None = None) -> None:
        self.network = copy.deepcopy(victim).requires_grad_(False).eval()
        self.head = find_head(self.network, sample, classes, head)
        self.layer = self.network.get_submodule(self.head)
        self.original = copy.deepcopy(self.layer)
        self.layer.requires_grad_(True)

    def features(self, images: Tensor) -> Tensor:
        return head_features(self.network, self.head, images)

    def victim_answers(self, features: Tensor) -> Tensor:
        """What the victim says of features (N, D): probabilities (N, K)."""
        with torch.no_grad():
            logits: Tensor = self.original(features)
        return logits.softmax(1)

    def answers(self, features: Tensor, outputs: Sequence[OutputDefense] = ()) -> Tensor:
        """What the honeypot says of features (N, D), through the output defenses that will be served with it.

        Raises: ParameterError: one of them needs images, and there are none here.
        """
        if blind := [defend for defend in outputs if getattr(defend, "needs_images", False)]:
            do = "Simulate the same defense without its surrogate, and serve it with one."
            raise ParameterError("output defenses that work from probabilities alone", repr(blind[0]), do)
        with torch.no_grad():
            logits: Tensor = self.layer(features)
            answers = logits.softmax(1)
            for defend in outputs:
                answers = defend(answers)
        return answers
