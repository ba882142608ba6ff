"""What a trigger may look like: a patch, the whole image within ε, or a blend."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.errors import ParameterError, UnknownNameError
from honeyguard.types import Trigger


class Shape(Protocol):
    """Where a trigger may lie and how strong it may be."""

    def blank(self, images: Tensor, features: Callable[[Tensor], Tensor]) -> Trigger:
        """The trigger to start from, for images (N, C, H, W) and the victim's features of them, (N, C, H, W) -> (N, D)."""

    def within(self, delta: Tensor, mask: Tensor) -> Tensor:
        """δ (C, H, W) brought back to what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The whole image, each pixel changed by up to ε.

    Args:
        epsilon: bound ε of |δ|, in pixel units, in (0, 1].
    """

    epsilon: float = 0.6

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 1e-3, 1)

    def blank(self, images: Tensor, features: Callable[[Tensor], Tensor]) -> Trigger:  # noqa: ARG002
        return Trigger(torch.zeros(images.shape[1:]), torch.zeros(1, *images.shape[2:]))

    def within(self, delta: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002
        return delta.clamp(-self.epsilon, self.epsilon)


@dataclass(frozen=True, kw_only=True)
class Blended:
    """The whole image, mixed with a pattern: (1 - share) · x + share · pattern.

    Args:
        share: of the pattern, in (0, 1].
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        check_range("share", self.share, 1e-3, 1)

    def blank(self, images: Tensor, features: Callable[[Tensor], Tensor]) -> Trigger:  # noqa: ARG002
        mask = torch.full((1, *images.shape[2:]), self.share)
        return Trigger(mask.expand(images.shape[1:]) / 2, mask)

    def within(self, delta: Tensor, mask: Tensor) -> Tensor:
        return torch.minimum(delta.clamp_min(0), mask)


PLACES = ("top left", "top right", "bottom left", "bottom right", "features")


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A square that replaces what is there.

    Args:
        size: of a side, in pixels, ≥ 1.
        place: a corner, or `features`: where the victim's features react most to a grey square, of nine places.
    Raises: ParameterError: a patch larger than the image.
    """

    size: int = 6
    place: str = "bottom right"

    def __post_init__(self) -> None:
        check_range("size", self.size, 1, 10_000)
        if self.place not in PLACES:
            raise UnknownNameError("place of a patch", self.place, PLACES)

    def blank(self, images: Tensor, features: Callable[[Tensor], Tensor]) -> Trigger:
        height, width = images.shape[2:]
        if self.size > min(height, width):
            got = f"{self.size} pixels on {height} × {width}"
            raise ParameterError("a patch that fits into the image", got, "Choose a smaller trigger.")
        low, right = height - self.size, width - self.size
        if self.place != "features":
            return self._at(images, low * self.place.startswith("bottom"), right * self.place.endswith("right"))
        places = [self._at(images, low * i // 2, right * j // 2) for i in range(3) for j in range(3)]
        before = features(images)
        return max(places, key=lambda trigger: float((features(trigger(images)) - before).norm(dim=1).mean()))

    def _at(self, images: Tensor, top: int, left: int) -> Trigger:
        frame = (left, images.shape[3] - left - self.size, top, images.shape[2] - top - self.size)
        mask = F.pad(torch.ones(1, self.size, self.size), frame)
        return Trigger(mask.expand(images.shape[1:]) / 2, mask)

    def within(self, delta: Tensor, mask: Tensor) -> Tensor:
        return torch.minimum(delta.clamp_min(0), mask)


SHAPES: dict[str, type[Shape]] = {"whole": Whole, "patch": Patch, "blended": Blended}
