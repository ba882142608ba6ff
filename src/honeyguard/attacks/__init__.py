"""Thieves: what to ask × how to read the answer × how to train."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from honeyguard.attacks.answers import ANSWERS
from honeyguard.attacks.answers.as_given import AsGiven
from honeyguard.attacks.queries import QUERIES
from honeyguard.attacks.queries.random import RandomQueries
from honeyguard.contract import check_images
from honeyguard.errors import BudgetError
from honeyguard.oracle import Metered
from honeyguard.training import Recipe, fit
from honeyguard.types import AnswerStrategy, Oracle, QueryStrategy

__all__ = ["ANSWERS", "QUERIES", "Extraction"]


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A theft from three independent parts; the defaults are KnockoffNets with random queries.

    Source: Orekondy, Schiele, Fritz: Knockoff Nets: Stealing Functionality of Black-Box Models, CVPR 2019.
    Args:
        budget: images sent at most; one query = one image.
        query: which images to send.
        answer: how to read what comes back.
        recipe: how the substitute is trained.
        seed: of the queries and the training.
    Raises: BudgetError: a budget larger than the pool. ImageError: a pool that breaks the input contract.
    """

    budget: int
    query: QueryStrategy = field(default_factory=RandomQueries)
    answer: AnswerStrategy = field(default_factory=AsGiven)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

    def extract(self, oracle: Oracle, pool: Tensor, substitute: nn.Module) -> nn.Module:
        """Train `substitute` in place on the oracle's answers to images of `pool` (N, C, H, W); returns it."""
        if not 0 < self.budget <= len(check_images(pool)):
            got = f"{self.budget}"
            raise BudgetError(f"a budget from 1 to {len(pool)}, the size of the pool", got, "Lower the budget or bring a larger pool.")
        transfer = self.query.collect(Metered(oracle, self.budget), pool, self.budget, self.seed)
        return fit(substitute, transfer.images, self.answer(transfer.answers), self.recipe, seed=self.seed)
