"""Answers with the top class alone."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from honeyguard.defenses.outputs import OutputDefense


@dataclass(frozen=True, kw_only=True)
class LabelOnly(OutputDefense):
    """Answer with the top class as a one-hot row.

    Source: Tramèr, Zhang, Juels, Reiter, Ristenpart: Stealing Machine Learning Models via Prediction APIs, USENIX Security 2016, §7.
    Threat model: leaves the thief labels and nothing else, which many thefts need no more than. Customers lose the confidence.
    Shape: probabilities (N, K) -> (N, K), one-hot rows.
    Example:
        >>> LabelOnly()(torch.tensor([[0.3, 0.5, 0.2]]))
        tensor([[0., 1., 0.]])
    Deviations: none.
    """

    def __call__(self, probabilities: Tensor) -> Tensor:
        return F.one_hot(probabilities.argmax(1), probabilities.shape[1]).to(probabilities.dtype)
