from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from honeyguard.errors import ClassCountError, ClassificationLayerError, ModelError, UnknownNameError
from honeyguard.models import MODELS, architecture_of, find_head, head_features, load_model, predict_logits

SAMPLE = torch.rand(3, 1, 8, 8)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_every_builtin_has_one_classification_layer_whose_input_is_the_feature(name: str, shape: tuple[int, ...]) -> None:
    network = load_model(name, shape, 7, width=4)
    images = torch.rand(3, *shape)
    head = find_head(network, images, 7)
    features = head_features(network, head, images, batch=2)
    torch.testing.assert_close(network.get_submodule(head)(features), predict_logits(network, images))


def test_architecture_rebuilds_the_network() -> None:
    network = load_model("cnn", (1, 8, 8), 5, width=4)
    built = architecture_of(network)
    assert built is not None
    assert built.build().state_dict().keys() == network.state_dict().keys()
    assert not built.foreign


class Two(nn.Module):
    """Two linear layers of 4 outputs; how they are joined decides which one is the classification layer."""

    def __init__(self, join: str) -> None:
        super().__init__()
        self.first, self.second, self.join = nn.Linear(64, 4), nn.Linear(64, 4), join

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x.flatten(1)), self.second(x.flatten(1))
        joined: dict[str, Tensor] = {"mean": (a + b) / 2, "second": b}
        return joined[self.join]


def test_the_layer_on_the_path_to_the_logits_is_found_among_others() -> None:
    assert find_head(Two("second"), SAMPLE) == "second"


def test_two_candidates_are_named() -> None:
    with pytest.raises(ClassificationLayerError, match="2 candidates \\(first, second\\)"):
        find_head(Two("mean"), SAMPLE)
    assert find_head(Two("mean"), SAMPLE, name="first") == "first"


def test_no_linear_layer() -> None:
    with pytest.raises(ClassificationLayerError, match="got none"):
        find_head(nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten()), SAMPLE)
    with pytest.raises(ClassificationLayerError, match="Linear layers here: first, second"):
        find_head(Two("second"), SAMPLE, name="third")


def test_other_class_count_shape_or_output() -> None:
    with pytest.raises(ClassCountError, match="a model of 10 classes, as the data has; got one of 4"):
        find_head(Two("second"), SAMPLE, 10)
    with pytest.raises(ModelError, match="takes the data's images"):
        find_head(Two("second"), torch.rand(2, 3, 9, 9))
    with pytest.raises(ModelError, match="logits"):
        predict_logits(nn.Identity(), SAMPLE)


def outside() -> nn.Module:
    return Two("second")


def nothing() -> int:
    return 3


def test_a_python_function_with_safetensors_weights(tmp_path: Path) -> None:
    weights = {name: torch.randn_like(value) for name, value in outside().state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    network = load_model(f"{__name__}:outside", (1, 8, 8), 4, tmp_path / "w.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert architecture_of(network).foreign  # type: ignore[union-attr]


def test_model_specifications_that_cannot_be_built(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet18'"):
        load_model("resnet19", (1, 8, 8), 4)
    with pytest.raises(ModelError, match="PYTHONPATH"):
        load_model("no.such:thing", (1, 8, 8), 4)
    with pytest.raises(ModelError, match=r"returns an nn\.Module; got a int"):
        load_model(f"{__name__}:nothing", (1, 8, 8), 4)
    (tmp_path / "bad").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="a safetensors file"):
        load_model("mlp", (1, 8, 8), 4, tmp_path / "bad")
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ModelError, match="weights that fit the model"):
        load_model("mlp", (1, 8, 8), 4, tmp_path / "other")


def test_hugging_face_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    network = load_model(f"hf:{tmp_path}", (1, 32, 32), 4)
    images = torch.rand(2, 1, 32, 32)
    assert find_head(network, images, 4) == "network.classifier.1"
    rebuilt = architecture_of(network).build()  # type: ignore[union-attr]
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(predict_logits(rebuilt, images), predict_logits(network, images))
    with pytest.raises(ModelError, match="transformers image classifier"):
        load_model(f"hf:{tmp_path}/nowhere", (1, 32, 32), 4)
