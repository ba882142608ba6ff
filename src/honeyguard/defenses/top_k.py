"""Answers with the largest probabilities alone."""

from dataclasses import dataclass

from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.oracle import top_k


@dataclass(frozen=True, kw_only=True)
class TopK(OutputDefense):
    """Keep the k largest probabilities and renormalise; the others are 0. The top class is kept.

    Source: Tramèr, Zhang, Juels, Reiter, Ristenpart: Stealing Machine Learning Models via Prediction APIs, USENIX Security 2016, §7;
        Orekondy, Schiele, Fritz: Knockoff Nets, CVPR 2019, §5.
    Threat model: hides how the unlikely classes are related. Doesn't stop a thief who reads labels.
    Args:
        k: classes kept, ≥ 1; as many as there are where that is fewer.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: k below 1.
    Example:
        >>> TopK(k=2)(torch.tensor([[0.6, 0.2, 0.15, 0.05]]))
        tensor([[0.7500, 0.2500, 0.0000, 0.0000]])
    Deviations: none.
    """

    k: int = 3

    def __post_init__(self) -> None:
        check_range("k", self.k, 1, 1_000_000)

    def __call__(self, probabilities: Tensor) -> Tensor:
        return top_k(probabilities, min(self.k, probabilities.shape[1]))
