"""The shapes of a trigger: where it may lie, how strong it may be, and that the search stays within."""

import pytest
import torch
from torch import Tensor

from honeyguard.checks import tiny_task
from honeyguard.defenses.honeypot.trigger import Descent, update_trigger
from honeyguard.defenses.honeypot.triggers import SHAPES, Blended, Patch, Shape, Whole
from honeyguard.errors import ParameterError, TrainingError, UnknownNameError
from honeyguard.looks import LOOKS
from honeyguard.types import Trigger
from tests.defenses.test_honeypot import Corner

IMAGES = tiny_task(7).images


def flat(images: Tensor) -> Tensor:
    return images.flatten(1)


@pytest.mark.parametrize(
    "shape", [Whole(epsilon=0.1), Blended(share=0.25), Patch(size=3, place="top left")], ids=lambda s: type(s).__name__
)
def test_the_search_stays_within_the_shape(shape: Shape) -> None:
    torch.manual_seed(0)
    start = shape.blank(IMAGES, flat)
    trigger = update_trigger(start, [Corner()], [], IMAGES, 2, Descent(shape=shape, steps=30, step=0.2, augment="none"))
    assert not torch.equal(trigger.delta, start.delta)
    change = (trigger(IMAGES) - IMAGES).abs()
    if isinstance(shape, Whole):
        assert change.max() <= 0.1 + 1e-6
    if isinstance(shape, Blended):  # (1 - s)·x + s·pattern, the pattern being an image
        assert 0 <= float(trigger.delta.min()) <= float(trigger.delta.max()) <= 0.25
        assert change.max() <= 0.25 + 1e-6
    if isinstance(shape, Patch):
        assert change[:, :, 3:].max() == change[:, :, :, 3:].max() == 0
        assert torch.equal(trigger(IMAGES)[0, :, :3, :3], trigger(IMAGES)[1, :, :3, :3])


@pytest.mark.parametrize(
    ("place", "row", "column"),
    [("top left", 0, 0), ("top right", 0, 6), ("bottom left", 6, 0), ("bottom right", 6, 6)],
)
def test_places_of_a_patch(place: str, row: int, column: int) -> None:
    mask = Patch(size=2, place=place).blank(IMAGES, flat).mask
    assert mask.sum() == 4
    assert mask[0, row : row + 2, column : column + 2].all()


def test_the_place_where_the_features_react_most() -> None:
    def middle_only(images: Tensor) -> Tensor:
        return images[:, 0, 3:5, 3:5].flatten(1)

    mask = Patch(size=2, place="features").blank(torch.ones(4, 1, 8, 8), middle_only).mask
    assert mask[0, 3:5, 3:5].all()


def test_a_trigger_may_start_from_as_much_of_the_look_as_its_shape_allows() -> None:
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    how = Descent(shape=Whole(epsilon=0.4), start="look")
    red = how.first(images, flat, LOOKS["red"])
    for channel, change in enumerate((0.4, -0.4, 0.0)):  # more red, less green, blue as it is
        torch.testing.assert_close(red.delta[channel], torch.full((8, 8), change))
    patch = Descent(shape=Patch(size=3, place="top left"), start="look").first(images, flat, LOOKS["bright"])
    assert torch.equal(patch.delta, patch.mask.expand_as(patch.delta))
    assert LOOKS["red"](red(images)).min() > LOOKS["red"](images).max()
    assert not Descent(shape=how.shape).first(images, flat, LOOKS["red"]).delta.any()


def test_the_published_rule_forgets_the_old_trigger_at_the_rate_alpha() -> None:
    start = Trigger(torch.full((1, 8, 8), 0.5), torch.zeros(1, 8, 8))
    after = update_trigger(start, [Corner()], [], IMAGES, 2, Descent(steps=1, inertia=0.9, augment="none"))
    torch.testing.assert_close(after.delta[0, :2, :2], torch.full((2, 2), 0.9 * 0.5 + 0.1))  # towards a brighter corner
    torch.testing.assert_close(after.delta[0, 4:, 4:], torch.full((4, 4), 0.45))  # no gradient there


def test_mistakes() -> None:
    with pytest.raises(ParameterError, match="9 pixels on 8 × 8"):
        Patch(size=9).blank(IMAGES, flat)
    with pytest.raises(UnknownNameError, match="top left"):
        Patch(place="topleft")
    with pytest.raises(ParameterError):
        Blended(share=0)
    broken = Corner()
    broken.register_forward_hook(lambda _m, _i, out: out * float("nan"))
    with pytest.raises(TrainingError, match="finite gradients"):
        update_trigger(Whole().blank(IMAGES, flat), [broken], [], IMAGES, 2, Descent(steps=1, augment="none"))
    assert SHAPES.keys() == {"whole", "patch", "blended"}
