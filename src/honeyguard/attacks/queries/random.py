"""KnockoffNets' random strategy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from honeyguard.types import Oracle, TransferSet


@dataclass(frozen=True, kw_only=True)
class RandomQueries:
    """Send images of the pool at random, each at most once.

    Source: Orekondy, Schiele, Fritz, CVPR 2019, §4.1.1; the same as Copycat's (Correia-Silva et al., IJCNN 2018).
    Shape: pool (N, C, H, W) -> transfer set of `budget` images and answers (budget, K).
    """

    def collect(self, oracle: Oracle, pool: Tensor, budget: int, seed: int) -> TransferSet:
        chosen = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:budget]
        return TransferSet(pool[chosen], oracle(pool[chosen]))
