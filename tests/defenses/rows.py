"""Random answers, from flat to sharp, one-hot rows among them."""

import torch
from torch import Tensor


def rows(n: int, k: int, seed: int) -> Tensor:
    """Probabilities (n, k)."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (2 * torch.rand(n, 1, generator=generator) - 0.5)
    y = torch.softmax(scale * torch.randn(n, k, generator=generator), 1)
    y[n // 2 : n // 2 + 1] = torch.eye(k)[:1]
    return y
