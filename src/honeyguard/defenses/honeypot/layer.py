"""The honeypot layer: a copy of the victim whose classification layer, or whose last stages, are fine-tuned."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from honeyguard.defenses.honeypot.kept import KeptTop1, replace_head
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
    Raises: ClassificationLayerError: a depth above 1 on a network that is no chain. ParameterError: such a depth with a margin.
    """

    def __init__(
        self, victim: nn.Module, sample: Tensor, classes: int, head: str | None = None, margin: float | None = None, depth: int = 1
    ) -> None:
        self.network = copy.deepcopy(victim).requires_grad_(False).eval()
        self.head = find_head(self.network, sample, classes, head)
        self.body: nn.Module | None = None  # None: whatever comes before the classification layer
        self.layer = self.network.get_submodule(self.head)
        if depth > 1:
            self.body, self.layer = last_stages(self.network, self.head, depth)
        self.original = copy.deepcopy(self.layer)
        self.served = self.layer
        if margin is not None:
            if depth > 1:
                raise ParameterError("keep_top1 with a depth of 1", f"a depth of {depth}", "Leave one of them out.")
            self.served = KeptTop1(self.layer, self.original, margin)
            replace_head(self.network, self.head, self.served)
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


def last_stages(network: nn.Module, head: str, depth: int) -> tuple[nn.Module, nn.Module]:
    """A chain of modules in two: what comes before the last `depth` stages with weights, and these.

    Raises: ClassificationLayerError: not a chain that ends in `head`, or one that is shorter.
    """
    stages = list(network.named_children())
    weighted = [i for i, (_, stage) in enumerate(stages) if any(True for _ in stage.parameters())]
    if not isinstance(network, nn.Sequential) or stages[-1][0] != head or len(weighted) <= depth:
        expected = f"an nn.Sequential of more than {depth} stages with weights that ends in its classification layer"
        got = f"a {type(network).__name__} of {len(weighted)}"
        raise ClassificationLayerError(expected, got, "Fine-tune the classification layer alone: depth = 1.")
    return network[: weighted[-depth]], network[weighted[-depth] :]
