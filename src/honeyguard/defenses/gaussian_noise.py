"""Answers with noise that asking again doesn't average away."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense, Strength

GRID = 1024
"""Rows are told apart by their probabilities in units of 1/1024."""
MODULUS = 2**31 - 1
"""A prime whose products fit int64; 5 doesn't divide MODULUS - 1, so that x ↦ x⁵ permutes the residues."""


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(OutputDefense):
    """Add Gaussian noise to the logarithms of the probabilities; the same answer gets the same noise.

    Source: the baseline of Lee, Edwards, Molloy, Su, arXiv 1806.00054, and of Orekondy, Schiele, Fritz, ICLR 2020 (random noise).
    Threat model: a thief who trains on the probabilities as given learns the noise too. Doesn't stop one who reads labels, nor much
        one whose training averages over many images.
    Args:
        std: standard deviation of the noise on the log-probabilities, in nats, in [0, 10].
        seed: the owner's; who knows it can subtract the noise.
        keep_top1: where another class would come out on top, the two change places.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: std out of range.
    Example:
        >>> y = torch.tensor([[0.6, 0.3, 0.1]])
        >>> torch.equal(GaussianNoise()(y), GaussianNoise()(y))
        True
    Deviations: noise on the log-probabilities, so that every row stays a distribution. It is drawn from a hash of the row, rounded to
        1/1024, and the seed: repeated queries gain nothing, neither do images so alike that the rounded row is the same. The hash is no
        cryptographic one, because it has to run inside an exported graph.
    """

    strength: ClassVar[Strength] = Strength("std", 0, 10)

    std: float = 1.0
    seed: int = 0
    keep_top1: bool = True

    def __post_init__(self) -> None:
        check_range("std", self.std, 0, 10)
        check_range("seed", self.seed, 0, 2**31)

    def __call__(self, probabilities: Tensor) -> Tensor:
        y = probabilities
        noisy = torch.softmax(y.clamp_min(1e-12).log() + self.std * self._noise(y), 1)
        if not self.keep_top1:
            return noisy
        top, place = y.argmax(1, keepdim=True), noisy.argmax(1, keepdim=True)
        most, had = noisy.gather(1, place), noisy.gather(1, top)
        return noisy.scatter(1, place, had).scatter(1, top, most)

    def _noise(self, y: Tensor) -> Tensor:
        """Standard normal (N, K), a function of the rounded row and the seed: Box-Muller on two hashed uniforms."""
        key = _mixed(_mixed(torch.arange(1, y.shape[1] + 1, device=y.device)) + self.seed)
        row = _mixed(_mixed((y * GRID).round().long() + key).sum(1, keepdim=True))
        first, second = (_mixed(_mixed(row + factor * key) + factor) for factor in (1, 3))
        uniform, angle = ((hashed.to(y.dtype) + 0.5) / MODULUS for hashed in (first, second))
        return (-2 * uniform.clamp_max(1).log()).sqrt() * (2 * math.pi * angle).cos()


def _mixed(values: Tensor) -> Tensor:
    """Integers scattered over 0 … MODULUS - 1, each to another place: x ↦ x⁵ + 17."""
    x = values % MODULUS
    square = x * x % MODULUS
    return (square * square % MODULUS * x + 17) % MODULUS
