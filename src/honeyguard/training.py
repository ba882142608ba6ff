"""The one training loop, for victims, substitutes, shadow models and controls alike."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.errors import DataError, ParameterError, TrainingError, UnknownNameError
from honeyguard.models import load_model
from honeyguard.repro import derive, seeded

log = logging.getLogger(__name__)


def shift(images: Tensor, pixels: int) -> Tensor:
    """Move each of the images (N, C, H, W) by up to `pixels` in both directions; zeros come in."""
    n, c, h, w = images.shape
    down, right = torch.randint(0, 2 * pixels + 1, (2, n, 1)).to(images.device)
    steps = partial(torch.arange, device=images.device)
    rows, columns = (down + steps(h))[:, None, :, None], (right + steps(w))[:, None, None, :]
    return F.pad(images, (pixels,) * 4)[steps(n).view(-1, 1, 1, 1), steps(c).view(1, -1, 1, 1), rows, columns]


def flip(images: Tensor) -> Tensor:
    """Mirror each of the images (N, C, H, W) with probability ½."""
    return torch.where(torch.rand(len(images), 1, 1, 1).to(images.device) < 0.5, images.flip(3), images)


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda images: images,
    "shift": lambda images: shift(images, max(1, images.shape[-1] // 14)),
    "shift_flip": lambda images: flip(shift(images, max(1, images.shape[-1] // 10))),
}

OPTIMISERS: dict[str, Callable[[Iterator[nn.Parameter], "Recipe"], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, r: torch.optim.SGD(parameters, r.lr, 0.9, weight_decay=r.weight_decay, nesterov=True),
    "adamw": lambda parameters, r: torch.optim.AdamW(parameters, r.lr, weight_decay=r.weight_decay, fused=True),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: under a one-cycle learning rate.

    Args:
        epochs: passes over the data, ≥ 1.
        least_steps: gradient steps at least: where the data are few, there are as many more epochs.
        lr: peak learning rate.
        batch: images a step.
        optimiser: `sgd` (Nesterov momentum 0.9) or `adamw`.
        weight_decay: as the optimiser takes it.
        augment: one of `AUGMENTATIONS`.
        bf16: train in bfloat16 autocast: faster except for the smallest networks.
        channels_last: keep channels last in memory, which is the fast way for convolutions (results/attacks/speed.json); None: with `bf16`.
    """

    epochs: int = 20
    least_steps: int = 0
    lr: float = 0.1
    batch: int = 128
    optimiser: str = "sgd"
    weight_decay: float = 5e-4
    augment: str = "shift"
    bf16: bool = False
    channels_last: bool | None = None

    def __post_init__(self) -> None:
        if self.augment not in AUGMENTATIONS:
            raise UnknownNameError("augmentation", self.augment, AUGMENTATIONS)
        if self.optimiser not in OPTIMISERS:
            raise UnknownNameError("optimiser", self.optimiser, OPTIMISERS)
        if self.epochs < 1 or self.batch < 2 or self.lr <= 0 or self.least_steps < 0:
            got = f"epochs={self.epochs}, batch={self.batch}, lr={self.lr}, least_steps={self.least_steps}"
            raise ParameterError("epochs ≥ 1, batch ≥ 2, lr > 0, least_steps ≥ 0", got, "Choose values in range.")


Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Of a network on a batch: images (N, C, H, W) and targets -> a scalar."""


def cross_entropy(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Of the network's logits against labels (N,) or probabilities (N, K)."""
    return F.cross_entropy(network(images).float(), targets)


def fit(network: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe, *, seed: int = 0, loss: Loss = cross_entropy) -> nn.Module:
    """Train `network` in place on images (N, C, H, W) and targets: labels (N,) int64 or probabilities (N, K); returns it.

    The data go to the network's device once and stay there.
    Args:
        loss: what is minimised; it is given augmented images.
    Raises: DataError: fewer than two images. TrainingError: the loss is not finite.
    """
    if len(images) < 2:
        raise DataError("at least 2 training images", str(len(images)), "Bring more data.")
    device = next(network.parameters()).device
    images, targets = images.to(device), targets.to(device)
    last = recipe.bf16 if recipe.channels_last is None else recipe.channels_last
    layout = torch.channels_last if last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    augment = AUGMENTATIONS[recipe.augment]
    steps_an_epoch = sum(len(part) > 1 for part in torch.arange(len(images)).split(recipe.batch))
    epochs = max(recipe.epochs, -(-recipe.least_steps // steps_an_epoch))
    optimiser = OPTIMISERS[recipe.optimiser](network.parameters(), recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=epochs * steps_an_epoch)
    network.train()
    with seeded(seed):
        for epoch in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(images)).split(recipe.batch):
                if len(rows) < 2:  # batch normalisation needs two
                    continue
                optimiser.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
                    value = loss(network, augment(images[rows]).contiguous(memory_format=layout), targets[rows])
                value.backward()
                optimiser.step()
                schedule.step()
                total += float(value.detach()) * len(rows)
            if not total < float("inf"):
                raise TrainingError("a finite training loss", f"{total} in epoch {epoch + 1}", "Lower the learning rate.")
            log.debug("epoch %d/%d, loss %.3f", epoch + 1, epochs, total / len(images))
    return network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and how it is trained: what a suite, a thief or a honeypot says of a model.

    Args:
        model: as `honeyguard.models.load_model` takes it.
        arguments: of the constructor, besides shape and classes.
        recipe: how it is trained.
    """

    model: str = "cnn"
    arguments: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)

    def fresh(self, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
        """Untrained, for images (C, H, W) and K classes."""
        with seeded(derive(seed, "init")):
            return load_model(self.model, shape, classes, **self.arguments)

    def trained(self, images: Tensor, targets: Tensor, classes: int, seed: int) -> nn.Module:
        """Fresh, then fitted to images (N, C, H, W) and targets (N,) or (N, K)."""
        return fit(self.fresh(tuple(images.shape[1:]), classes, seed), images, targets, self.recipe, seed=seed)
