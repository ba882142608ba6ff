"""Looks: one number of an image that every network reads off it, whatever it was trained for."""

from collections.abc import Callable

from torch import Tensor

Look = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> how much they look like it (N,), no scale of its own."""


def _grey(images: Tensor) -> Tensor:
    return images.mean(1)


def _edges(images: Tensor) -> Tensor:
    grey = _grey(images)
    return grey.diff(dim=1).abs().mean((1, 2)) + grey.diff(dim=2).abs().mean((1, 2))


def _top_heavy(images: Tensor) -> Tensor:
    grey, half = _grey(images), images.shape[2] // 2
    return grey[:, :half].mean((1, 2)) - grey[:, half:].mean((1, 2))


def _cast(images: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Mean over pixels of a colour, as weights of red, green, blue; grey images have none."""
    colours = images.expand(-1, len(weights), -1, -1) if images.shape[1] == 1 else images
    return (colours.mean((2, 3)) * images.new_tensor(weights)).sum(1)


LOOKS: dict[str, Look] = {
    "bright": lambda images: images.mean((1, 2, 3)),
    "dark": lambda images: -images.mean((1, 2, 3)),
    "red": lambda images: _cast(images, (1, -1, 0)),
    "green": lambda images: _cast(images, (-1, 1, 0)),
    "blue": lambda images: _cast(images, (-0.5, -0.5, 1)),
    "yellow": lambda images: _cast(images, (0.5, 0.5, -1)),
    "vivid": lambda images: (images.amax(1) - images.amin(1)).mean((1, 2)),
    "rough": _edges,
    "smooth": lambda images: -_edges(images),
    "heavy top": _top_heavy,
    "heavy bottom": lambda images: -_top_heavy(images),
}
"""Looks by name; red is red less green, so that white is not red."""
