"""Benign traffic: what the detectors would see of images that customers send."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from honeyguard.detection import Queries
from honeyguard.errors import DataError
from honeyguard.models import find_head
from honeyguard.oracle import Local, predict
from honeyguard.types import Oracle, Protected, Served


def observed(oracle: Oracle | Protected, images: Tensor) -> Queries:
    """The images (N, C, H, W), the features that the classification layer reads, and the answers.

    Of an oracle that shows no features there are thumbnails in their place, as the gateway has them in front of another server.
    """
    model = oracle.model if isinstance(oracle, Local | Protected) else None
    if not isinstance(model, Served):
        return Queries.of(images.numpy(), predict(cast(Oracle, oracle), images).numpy())
    features: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features.append(inputs[0].detach().clone())

    network = model.network.eval()
    head = network.get_submodule(find_head(network, images[:2])).register_forward_pre_hook(keep)
    try:
        answers = predict(model, images)
    finally:
        head.remove()
    return Queries(images.numpy(), torch.cat(features).flatten(1).numpy(), answers.numpy())


def clients_of(pool: Queries, *, length: int, streams: int, seed: int) -> Iterator[list[Queries]]:
    """Rounds of clients who are served side by side, `streams` of them at least: each sends `length` queries, none twice in a round.

    Raises: DataError: a pool with fewer queries than two clients send.
    """
    clients = len(pool) // length
    if clients < 2:
        raise DataError(f"at least {2 * length} benign images for streams of {length}", str(len(pool)), "Bring more, or shorten the days.")
    random = np.random.default_rng(seed)
    for _ in range(-(-streams // clients)):
        order = random.permutation(len(pool))
        yield [pool[order[start : start + length]] for start in range(0, clients * length, length)]
