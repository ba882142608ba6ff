"""Only images that don't stand out: what a thief who knows of carriers sends."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from honeyguard.attacks.queries.random import RandomQueries
from honeyguard.contract import check_budget, check_range
from honeyguard.looks import LOOKS
from honeyguard.types import Learner, Oracle, QueryStrategy, TransferSet


@dataclass(frozen=True, kw_only=True)
class Ordinary:
    """Let another strategy choose among the images that stand out least: the brightest, reddest and so on are left out.

    An image stands out as far as the look in which it comes nearest to the top of the pool.

    Source: this project; it is made against `Honeypot`, whose carriers are the images with most of a look that its owner chose.
    Args:
        query: which of the others.
        share: of the pool that is left out, in [0, 1); less where the budget needs more.
    Shape: pool (N, C, H, W) -> transfer set of `budget` images and answers (budget, K).
    Raises: BudgetError: a pool too small for the budget.
    """

    query: QueryStrategy = field(default_factory=RandomQueries)
    share: float = 0.25

    def __post_init__(self) -> None:
        check_range("share", self.share, 0, 0.99)
        object.__setattr__(self, "needs_probabilities", getattr(self.query, "needs_probabilities", False))

    def collect(self, oracle: Oracle, pool: Tensor, budget: int, learner: Learner, seed: int) -> TransferSet:
        check_budget(budget, pool)
        ranks = torch.stack([look(pool) for look in LOOKS.values()]).argsort(1).argsort(1)  # from 0, each look's least
        kept = max(budget, round((1 - self.share) * len(pool)))
        return self.query.collect(oracle, pool[ranks.amax(0).argsort()[:kept]], budget, learner, seed)
