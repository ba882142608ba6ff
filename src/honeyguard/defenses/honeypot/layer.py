"""The honeypot layer: a copy of the victim whose classification layer, or whose last stages, are fine-tuned."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from honeyguard.defenses.honeypot.kept import keep, layers_before, layers_from
from honeyguard.errors import ClassificationLayerError, ParameterError
from honeyguard.models import find_head, head_features
from honeyguard.oracle import predict
from honeyguard.types import OutputDefense


class HoneypotLayer:
    """A copy of the victim on a frozen backbone; images become features (N, …) once, and the rest is one linear layer or a few.

    Args:
        victim: the network; it stays as it is.
        sample: images (N, C, H, W) to find the classification layer with.
        classes: K.
        head: dotted path of the layer; None finds it.
        margin: the victim's largest probability from which on its top class is kept whatever is learnt; None keeps the plain layer.
        depth: stages with weights that are fine-tuned, from the network's end; 1 is the classification layer alone.
    Raises: ClassificationLayerError: a depth above 1 on a network that is no chain.
    """

    def __init__(
        self, victim: nn.Module, sample: Tensor, classes: int, head: str | None = None, margin: float | None = None, depth: int = 1
    ) -> None:
        self.network = copy.deepcopy(victim).requires_grad_(False).eval()
        self.head = find_head(self.network, sample, classes, head)
        start = self.head if depth == 1 else stage(self.network, self.head, depth)
        self.body = None if depth == 1 else layers_before(self.network, start)
        self.layer = layers_from(self.network, start)
        self.original = copy.deepcopy(self.layer)
        self.served = self.layer
        if margin is not None:
            self.served = keep(self.network, start, self.original, margin).get_submodule(start)
        self.layer.requires_grad_(True)

    def features(self, images: Tensor) -> Tensor:
        return head_features(self.network, self.head, images) if self.body is None else predict(self.body, images)

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
            logits: Tensor = self.served(features)
            answers = logits.softmax(1)
            for defend in outputs:
                answers = defend(answers)
        return answers

    def agreement(self, features: Tensor) -> float:
        """Share of features (N, D) on which honeypot and victim have the same top class."""
        return float((self.answers(features).argmax(1) == self.victim_answers(features).argmax(1)).float().mean())

    def state(self) -> dict[str, Tensor]:
        """The layer's weights, to come back to."""
        return {name: value.clone() for name, value in self.layer.state_dict().items()}


def stage(network: nn.Module, head: str, depth: int) -> str:
    """Name of the stage with weights, `depth` of them from the end, of a chain that ends in `head`.

    Raises: ClassificationLayerError: no such chain, or one that is shorter.
    """
    names = [name for name, part in network.named_children() if any(True for _ in part.parameters())]
    if not isinstance(network, nn.Sequential) or [*dict(network.named_children())][-1] != head or len(names) < depth:
        expected = f"an nn.Sequential of at least {depth} stages with weights that ends in its classification layer"
        got = f"a {type(network).__name__} of {len(names)}"
        raise ClassificationLayerError(
            expected, got, "Fine-tune the classification layer alone: LinearHoneypot (linear_honeypot), or depth = 1."
        )
    return names[-depth]
