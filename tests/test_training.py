import pytest
import torch
import torch.nn.functional as F

from honeyguard.errors import DataError, ParameterError, TrainingError, UnknownNameError
from honeyguard.training import AUGMENTATIONS, Network, Recipe, fit, flip, shift
from honeyguard.types import Labelled

MLP = Network(model="mlp", arguments={"width": 16}, recipe=Recipe(epochs=10, batch=16, augment="none"))


def test_it_learns_labels_and_probabilities_alike(task: Labelled) -> None:
    by_labels = MLP.trained(task.images, task.labels, 4, seed=0)
    by_rows = MLP.trained(task.images, F.one_hot(task.labels, 4).float(), 4, seed=0)
    assert (by_labels(task.images).argmax(1) == task.labels).float().mean() > 0.9
    assert torch.allclose(by_labels(task.images), by_rows(task.images), atol=1e-5)


def test_the_seed_decides_everything_and_the_callers_state_is_kept(task: Labelled) -> None:
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    a = MLP.trained(task.images, task.labels, 4, seed=5)
    assert torch.rand(1) == first
    b = MLP.trained(task.images, task.labels, 4, seed=5)
    c = MLP.trained(task.images, task.labels, 4, seed=6)
    assert torch.equal(a(task.images), b(task.images))
    assert not torch.equal(a(task.images), c(task.images))


def test_shift_moves_every_image_by_its_own_offset() -> None:
    images = torch.zeros(64, 1, 9, 9)
    images[:, :, 4, 4] = 1
    places = shift(images, 2).flatten(1).argmax(1)
    rows, columns = places // 9, places % 9
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    assert torch.equal(shift(images, 0), images)


def test_flip_mirrors_about_half() -> None:
    images = torch.rand(200, 1, 3, 3)
    out = flip(images)
    flipped = (out == images.flip(3)).flatten(1).all(1)
    assert 60 < int(flipped.sum()) < 140
    assert torch.equal(out[~flipped], images[~flipped])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_keep_shape_and_range(name: str) -> None:
    out = AUGMENTATIONS[name](torch.rand(5, 3, 32, 32))
    assert out.shape == (5, 3, 32, 32)
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


def test_bad_recipes_and_data(task: Labelled) -> None:
    with pytest.raises(UnknownNameError, match="'shift_flip'"):
        Recipe(augment="shift_flp")
    with pytest.raises(ParameterError, match="epochs ≥ 1"):
        Recipe(epochs=0)
    with pytest.raises(DataError, match="at least 2"):
        fit(MLP.fresh((1, 8, 8), 4, 0), task.images[:1], task.labels[:1], MLP.recipe)
    with pytest.raises(TrainingError, match="Lower the learning rate"):
        fit(MLP.fresh((1, 8, 8), 4, 0), task.images, task.labels, Recipe(epochs=9, lr=1e6, augment="none"))


@pytest.mark.parametrize("bf16", [False, True])
def test_channels_last_learns_the_same_and_leaves_the_layout(task: Labelled, bf16: bool) -> None:
    images = task.images
    answers = []
    for last in (False, True):
        recipe = Recipe(epochs=3, batch=16, augment="none", bf16=bf16, channels_last=last)
        network = Network(model="allconv", arguments={"width": 4}, recipe=recipe).trained(images, task.labels, 4, 0)
        assert all(parameter.is_contiguous() for parameter in network.parameters())
        answers.append(torch.softmax(network(images).detach(), 1))
    assert float((answers[0] - answers[1]).abs().mean()) < (0.02 if bf16 else 1e-3)


@pytest.mark.parametrize(("images", "least", "steps"), [(96, 0, 12), (96, 30, 30), (20, 30, 30), (96, 5, 12)])
def test_few_images_are_trained_on_for_longer(task: Labelled, images: int, least: int, steps: int) -> None:
    counted = 0

    def loss(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        nonlocal counted
        counted += 1
        return F.cross_entropy(network(x), y)

    fit(MLP.fresh(task.shape, 4, 0), task.images[:images], task.labels[:images], Recipe(epochs=2, batch=16, least_steps=least), loss=loss)
    assert counted == steps


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_holds_inside_the_network(channels: int) -> None:
    """The weights of a one-channel convolution have two layouts at once; the wrong one turns the whole network to channels first."""
    network = Network(model="lenet").fresh((channels, 8, 8), 3, seed=0)
    layouts = []
    network.get_submodule("1").register_forward_hook(
        lambda _module, _inputs, output: layouts.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    fit(network, torch.rand(8, channels, 8, 8), torch.arange(8) % 3, Recipe(epochs=1, batch=8, channels_last=True))
    assert layouts == [True]
