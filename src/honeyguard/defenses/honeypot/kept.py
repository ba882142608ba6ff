"""A promise to customers, built into the served network: where the victim is sure, its top class stays."""

import copy
from collections import OrderedDict
from itertools import takewhile

import torch
from torch import Tensor, nn

GAP = 1e-2  # in logits, by which the victim's top class leads at least where it is kept


class KeptTop1(nn.Module):
    """A honeypot layer, or several, that leaves the victim's top class where the victim's largest probability is at least `margin`.

    Other classes are cut down to just below it; they keep their order. It is an ordinary module of the network, so exports keep it.
    Shape: features (N, …) -> logits (N, K).
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


def keep(network: nn.Module, start: str, victim: nn.Module, margin: float = 1.0) -> nn.Module:
    """Put a `KeptTop1` at the dotted path `start`, instead of what is there and, in a chain, of all that follows; in place.

    Args:
        victim: the same layers as the victim has them.
    """
    kept, (parent, _, name) = KeptTop1(layers_from(network, start), victim, margin), start.rpartition(".")
    if isinstance(network, nn.Sequential) and not parent:
        for later in list(dict(network.named_children()))[len(layers_before(network, start)) :]:
            delattr(network, later)
        network.add_module(name, kept)
    else:
        setattr(network.get_submodule(parent), name, kept)
    return network


def layers_before(chain: nn.Module, start: str) -> nn.Sequential:
    """The layers of a chain that come before the one named `start`."""
    return nn.Sequential(OrderedDict(takewhile(lambda child: child[0] != start, chain.named_children())))


def layers_from(network: nn.Module, start: str) -> nn.Module:
    """The layer at the dotted path `start`; in a chain with all that follow it."""
    names = [name for name, _ in network.named_children()]
    if isinstance(network, nn.Sequential) and start in names[:-1]:
        return network[names.index(start) :]
    return network.get_submodule(start)


def kept_head(network: nn.Module) -> str | None:
    """Dotted path of the network's `KeptTop1`, if it has one."""
    return next((path for path, module in network.named_modules() if isinstance(module, KeptTop1)), None)


def with_kept_head(network: nn.Module, start: str | None) -> nn.Module:
    """The network ready for weights that were saved with a `KeptTop1` at `start`, in place; as it is where that is None."""
    if start is None or kept_head(network) is not None:
        return network
    return keep(network, start, copy.deepcopy(layers_from(network, start)))
