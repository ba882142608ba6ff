"""Answers from a code book: ModelGuard-S."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from honeyguard import types
from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense, Strength
from honeyguard.errors import ParameterError
from honeyguard.oracle import predict
from honeyguard.types import OwnerData, Protected

BOOK = 256
"""Codes of one class at most; later rows fall back on the lattice."""


@dataclass(frozen=True, kw_only=True)
class ModelGuardS(OutputDefense):
    """Answer with the first code of a book that lies within an L1 budget and has the same top class.

    Source: Tang, Dai, DiValentin, Ding, Hass, Gong, Chen, Li: ModelGuard: Information-Theoretic Defense Against Model Extraction Attacks,
        USENIX Security 2024; the strong version, ordered incremental quantisation.
    Threat model: bounds what an answer can say, whoever reads it, the thief who knows the defense among them. Doesn't stop one who reads
        labels.
    Args:
        epsilon: the budget, Σ|ỹ - y|, in [0.01, 2].
        book: the codes (M, K), in order; each a distribution. Empty: learnt in `protect` from the victim's answers to the owner's images.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: epsilon out of range, or codes that are no distributions of one size.
    Example:
        >>> ModelGuardS(epsilon=0.5, book=((0.6, 0.3, 0.1),))(torch.tensor([[0.7, 0.2, 0.1]]))
        tensor([[0.6000, 0.3000, 0.1000]])
    Deviations: reconstructed from the paper. The published book grows with every query; here it is fixed once learnt, so that an answer
        depends on its row alone. A row without a code gets the nearest point of the lattice of multiples of 1/n, n such that the budget
        holds; with an empty book all do.
    """

    strength: ClassVar[Strength] = Strength("epsilon", 0.01, 2)

    epsilon: float = 1.0
    book: Sequence[Sequence[float]] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0.01, 2)
        if len(self.book) and (len({len(code) for code in self.book}) > 1 or any(abs(sum(c) - 1) > 1e-3 or min(c) < 0 for c in self.book)):
            raise ParameterError(
                "codes that are distributions over the same classes", f"{len(self.book)} others", "Leave the book to protect."
            )

    def fitted(self, protected: Protected, owner: OwnerData | None) -> types.OutputDefense:
        if owner is None or len(self.book):
            return self
        answers = predict(protected.model, owner.train.images if owner.customers is None else owner.customers)
        return replace(self, book=tuple(map(tuple, learn_book(answers, self.epsilon).tolist())))

    def __call__(self, probabilities: Tensor) -> Tensor:
        lattice = self._nearest(probabilities)
        if not len(self.book):
            return lattice
        book = torch.tensor(self.book, dtype=probabilities.dtype, device=probabilities.device)
        close = torch.cdist(probabilities, book, p=1) <= self.epsilon
        fits = close & (probabilities.argmax(1)[:, None] == book.argmax(1))
        first = fits.to(torch.int8).argmax(1)
        return torch.where(fits.any(1, keepdim=True), book[first], lattice)

    def _nearest(self, y: Tensor) -> Tensor:
        """Counts out of n by the largest remainders, Σ|ỹ - y| ≤ K / 2n; the top class gets up to two more, 4 / n."""
        k = y.shape[1]
        n = math.ceil((k / 2 + 4) / self.epsilon)
        units = (n * y).floor()
        missing = (n - units.sum(1, keepdim=True)).round()
        top = y.argmax(1, keepdim=True)
        rank = (n * y - units).scatter(1, top, torch.full_like(missing, 2)).argsort(1, descending=True).argsort(1)  # the top class first
        units = units + (rank < missing)
        ahead = units.gather(1, top)
        tied = (units >= ahead).scatter(1, top, torch.zeros_like(top, dtype=torch.bool))
        loser = tied.to(torch.int8).argmax(1, keepdim=True)
        one = tied.any(1, keepdim=True).to(y.dtype)
        return units.scatter_add(1, top, one).scatter_add(1, loser, -one) / n


def learn_book(answers: Tensor, epsilon: float) -> Tensor:
    """Codes (M, K), in order: an answer (N, K) that no code before it fits becomes one itself; up to `BOOK` a class."""
    codes: list[Tensor] = []
    for k in range(answers.shape[1]):
        left = answers[answers.argmax(1) == k]
        for _ in range(BOOK):
            if not len(left):
                break
            codes.append(left[0])
            left = left[(left - left[0]).abs().sum(1) > epsilon]
    return torch.stack(codes) if codes else answers[:0]
