"""A promise to customers, built into the served network: where the victim is sure, its top class stays."""

from typing import cast

import torch
from torch import Tensor, nn

GAP = 1e-2  # in logits, by which the victim's top class leads at least where it is kept


class KeptTop1(nn.Module):
    """A honeypot layer that leaves the victim's top class where the victim's largest probability is at least `margin`.

    Other classes are cut down to just below it; they keep their order. It is an ordinary module of the network, so exports keep it.
    Shape: features (N, D) -> logits (N, K).
    """

    margin: Tensor

    def __init__(self, honeypot: nn.Module, victim: nn.Module, margin: float = 1.0) -> None:
        super().__init__()
        self.honeypot, self.victim = honeypot, victim
        self.register_buffer("margin", torch.tensor(float(margin)))

    def forward(self, features: Tensor) -> Tensor:
        logits, answers = self.honeypot(features), self.victim(features).softmax(1)
        sure, top = answers.max(1, keepdim=True)
        own = logits.gather(1, top)
        kept = torch.minimum(logits, own - GAP).scatter(1, top, own)
        return torch.where(sure >= self.margin, kept, logits)


def replace_head(network: nn.Module, head: str, layer: nn.Module) -> None:
    """Put `layer` at the dotted path `head`, in place."""
    parent, _, name = head.rpartition(".")
    setattr(network.get_submodule(parent), name, layer)


def kept_head(network: nn.Module) -> str | None:
    """Dotted path of the network's `KeptTop1`, if it has one."""
    return next((path for path, module in network.named_modules() if isinstance(module, KeptTop1)), None)


def with_kept_head(network: nn.Module, head: str | None) -> nn.Module:
    """The network ready for weights that were saved with a `KeptTop1` at `head`, in place; as it is where `head` is None."""
    if head is not None and kept_head(network) is None:
        layer = cast(nn.Linear, network.get_submodule(head))
        replace_head(network, head, KeptTop1(layer, nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)))
    return network
