"""Oracles: the only thing a thief sees. Wrappers are oracles too, so that they stack."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from honeyguard.contract import check_answers, check_images, check_spent
from honeyguard.errors import AnswerError, ParameterError
from honeyguard.types import Oracle, Protected

BATCH = 512


def predict(model: Oracle | nn.Module, images: Tensor, batch: int = BATCH) -> Tensor:
    """Whatever `model` returns for `images` (N, C, H, W), in batches, without gradients, in evaluation mode."""
    if isinstance(model, nn.Module):
        model.eval()
    with torch.inference_mode():
        rows = [model(part) for part in images.split(batch)]
    return torch.cat(rows).clone() if rows else torch.empty(0)


class Local:
    """A model in this process as an oracle: images (N, C, H, W) -> probabilities (N, K), both checked.

    Args:
        model: a module that answers with probabilities, or a protected model.
        shape: (C, H, W) that the model takes; None accepts any.
    Raises: ImageError, AnswerError.
    """

    def __init__(self, model: nn.Module | Protected, shape: tuple[int, ...] | None = None, batch: int = BATCH) -> None:
        self.model = model.model if isinstance(model, Protected) else model
        self.shape, self.batch = shape, batch

    def __call__(self, images: Tensor) -> Tensor:
        return check_answers(predict(self.model, check_images(images, self.shape), self.batch), len(images))


class Metered:
    """Counts queries (one query = one image) and refuses a call that would pass the budget; a refused call costs nothing.

    The count is exact whatever threads call. A call that failed counts, because the oracle may have answered it.
    Raises: BudgetError.
    """

    def __init__(self, oracle: Oracle, budget: int) -> None:
        self.oracle, self.budget, self.spent = oracle, budget, 0
        self._lock = threading.Lock()

    def __call__(self, images: Tensor) -> Tensor:
        with self._lock:
            check_spent(self.spent, len(images), self.budget)
            self.spent += len(images)
        return self.oracle(images)


class LabelOnly:
    """Answers with the top class alone, as a one-hot row."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def __call__(self, images: Tensor) -> Tensor:
        return top_k(self.oracle(images), 1)


class TopK:
    """Answers with the k largest probabilities, renormalised; the others are 0."""

    def __init__(self, oracle: Oracle, k: int) -> None:
        self.oracle, self.k = oracle, k

    def __call__(self, images: Tensor) -> Tensor:
        return top_k(self.oracle(images), self.k)


class Averaged:
    """The mean of several oracles' answers: clients who collude. A query costs one at each of them.

    Raises: ParameterError: no oracle. AnswerError: answers of different shapes.
    """

    def __init__(self, oracles: Sequence[Oracle]) -> None:
        if not oracles:
            raise ParameterError("at least one oracle", "none", "Name the oracles.")
        self.oracles = tuple(oracles)

    def __call__(self, images: Tensor) -> Tensor:
        answers = [oracle(images) for oracle in self.oracles]
        if len({tuple(rows.shape) for rows in answers}) > 1:
            got = " and ".join(str(tuple(rows.shape)) for rows in answers)
            raise AnswerError("answers of one shape from all oracles", got, "Average oracles of one task.")
        return torch.stack(answers).mean(0)


def top_k(answers: Tensor, k: int) -> Tensor:
    """Keep the k largest of each row of (N, K) and renormalise; of equal ones the first."""
    if torch.compiler.is_compiling():  # ONNX has no stable sort; its top-k takes the first
        values, indices = answers.topk(k, dim=1)
    else:
        values, indices = (part[:, :k] for part in answers.sort(dim=1, descending=True, stable=True))
    return torch.zeros_like(answers).scatter(1, indices, values / values.sum(1, keepdim=True))
