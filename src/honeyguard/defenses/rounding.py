"""Answers with few digits."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense, Strength


@dataclass(frozen=True, kw_only=True)
class Rounding(OutputDefense):
    """Round probabilities to a few decimals and renormalise; the top class is kept.

    Source: Tramèr, Zhang, Juels, Reiter, Ristenpart: Stealing Machine Learning Models via Prediction APIs, USENIX Security 2016, §7.
    Threat model: hides small probabilities. Doesn't stop a thief who reads labels, nor one who asks often.
    Args:
        decimals: kept, from 1 to 6.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: decimals out of range.
    Example:
        >>> Rounding()(torch.tensor([[0.74, 0.23, 0.03]]))
        tensor([[0.7778, 0.2222, 0.0000]])
    Deviations: classes that round to the same as the top class lose one unit of the last decimal; where all round to 0 the top class gets
        one unit, hence everything. Plain rounding leaves ties to whoever reads them, and no distribution of zeros.
    """

    strength: ClassVar[Strength] = Strength("decimals", 6, 1, whole=True)

    decimals: int = 1

    def __post_init__(self) -> None:
        check_range("decimals", self.decimals, 1, 6)

    def __call__(self, probabilities: Tensor) -> Tensor:
        units = (probabilities * 10**self.decimals).round()
        most, top = units.amax(1, keepdim=True), probabilities.argmax(1, keepdim=True)
        units = torch.where((units == most) & (most > 0), units - 1, units).scatter(1, top, most.clamp_min(1))
        return units / units.sum(1, keepdim=True)
