"""Controls: models of the same task that did not steal."""

import torch
from torch import nn

from honeyguard.training import Network
from honeyguard.types import Labelled


def train_innocent(labelled: Labelled, network: Network, images: int, seed: int) -> nn.Module:
    """A model that never saw the API, trained on its own random `images` of the labelled ones (N, C, H, W)."""
    rows = torch.randperm(len(labelled), generator=torch.Generator().manual_seed(seed))[:images]
    return network.trained(labelled.images[rows], labelled.labels[rows], labelled.classes, seed)
