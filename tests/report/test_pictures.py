"""The pictures of a record: real PNGs, of the right things, without a honeypot too."""

import base64
import io
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from honeyguard.benchmark.pictures import _delta_png, pictures
from honeyguard.benchmark.story import Story
from honeyguard.types import Labelled, OwnerKey, Protected, Trigger


def story(channels: int, *, honeypot: bool = True) -> Story:
    """What `pictures` needs of a story, on 40 random images of 5 classes."""
    torch.manual_seed(0)
    images, network = torch.rand(40, channels, 6, 6), nn.Sequential(nn.Flatten(), nn.Linear(channels * 36, 5))
    test = Labelled(images, torch.arange(40) % 5, ("a", "b", "c", "d", "e"))
    trigger = Trigger(0.25 * (torch.rand(channels, 6, 6) - 0.5), torch.zeros(1, 6, 6))
    key = OwnerKey(trigger, 1, 5, images[:4], "00" * 32) if honeypot else None
    guarded = {"none": Protected(network), "guard": Protected(nn.Sequential(network, nn.Softmax(1)), key=key)}
    known = {name: SimpleNamespace(protected=protected) for name, protected in guarded.items()}
    return cast(Story, SimpleNamespace(seed=3, parts={"test": test}, victim=SimpleNamespace(model=network), guarded=known))


def pixels(uri: str) -> np.ndarray[Any, Any]:
    kind, content = uri.split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


@pytest.mark.parametrize(("channels", "shape"), [(1, (6, 6)), (3, (6, 6, 3)), (4, (6, 6))])
def test_pictures_of_grey_and_colour(channels: int, shape: tuple[int, ...]) -> None:
    told = story(channels)
    shown, test = pictures(told), told.parts["test"]
    assert shown["classes"] == list("abcde")
    assert shown["honeypot"] == "guard"
    labels = [pair["label"] for pair in shown["pairs"]]
    assert labels == [0, 2, 3, 4]
    for uri in [
        shown["trigger"],
        shown["decoy"]["trigger"],
        shown["decoy"]["image"],
        *(p[k] for p in shown["pairs"] for k in ("clean", "triggered")),
    ]:
        assert pixels(uri).shape == shape
    trigger, decoy = (
        np.sort(np.abs(pixels(uri).astype(float) - 127.5), axis=None) for uri in (shown["trigger"], shown["decoy"]["trigger"])
    )
    assert np.allclose(trigger, decoy, atol=1)
    key = told.guarded["guard"].protected.key
    assert key is not None
    row = int((test.labels == labels[0]).nonzero()[0])
    if channels == 1:
        expected = (255 * key.trigger(test.images[row : row + 1])[0, 0]).round().byte().numpy()
        assert np.array_equal(pixels(shown["pairs"][0]["triggered"]), expected)


def test_the_customer_is_typical_and_every_defense_answers() -> None:
    told = story(1)
    customer, test = pictures(told)["customer"], told.parts["test"]
    answers = Protected(told.victim.model).model(test.images).detach()
    right = answers[answers.argmax(1) == test.labels].amax(1).sort().values
    assert customer["before"][customer["label"]] == max(customer["before"]) == pytest.approx(float(right[len(right) // 2]))
    assert customer["answers"].keys() == {"none", "guard"}
    assert customer["answers"]["none"] == pytest.approx(customer["before"])
    assert all(sum(answer) == pytest.approx(1) for answer in customer["answers"].values())


def test_without_a_honeypot() -> None:
    shown = pictures(story(1, honeypot=False))
    assert all(shown[name] is None for name in ("honeypot", "target_class", "trigger", "strength", "decoy", "pairs"))
    assert shown["customer"]["image"]


def test_grey_is_nothing() -> None:
    delta = torch.tensor([[[0.0, 0.1, -0.2]]])
    assert pixels(_delta_png(delta)).tolist() == [[128, 191, 0]]
