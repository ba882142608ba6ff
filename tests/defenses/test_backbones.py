"""Backbones of other libraries: one linear layer is trained, the weights of the rest stay untouched."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from honeyguard.checks import CLASSES, tiny_task
from honeyguard.defenses import Honeypot
from honeyguard.errors import ClassificationLayerError
from honeyguard.models import Architecture, load_model
from honeyguard.oracle import predict
from honeyguard.types import OwnerData
from tests.defenses.test_contract import SMALL

CONFIGS: dict[str, dict[str, Any]] = {
    "resnet": {"num_channels": 1, "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "vit": {
        "num_channels": 1,
        "image_size": 8,
        "patch_size": 4,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_transformers_backbone(name: str, owner: OwnerData) -> None:
    config = CONFIGS[name] | {"num_labels": CLASSES}
    torch.manual_seed(0)
    protects(Architecture(f"hf:{name}", {"config": config, "mean": [0.5], "std": [0.5]}).build(), owner, "classifier")


def test_a_timm_backbone(owner: OwnerData) -> None:
    pytest.importorskip("timm", reason="the extra 'vision' is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    protects(load_model("timm:resnet10t", tiny_task(1).shape, CLASSES), owner, "fc")


def test_a_torchvision_backbone(owner: OwnerData) -> None:
    models = pytest.importorskip("torchvision.models", reason="the extra 'vision' is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    victim = models.resnet18(num_classes=CLASSES)
    victim.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    protects(victim, owner, "fc")


def protects(victim: nn.Module, owner: OwnerData, head: str) -> None:
    """One round changes the classification layer `head` of a copy, and nothing else; there is an owner key."""
    honeypot = SMALL["honeypot"]
    assert isinstance(honeypot, Honeypot)
    said = predict(victim.eval(), owner.shadow_set).argmax(1)
    protected = replace(honeypot, depth=1, rounds=1, target_class=int(said.mode().values)).protect(victim, owner)
    before, after = victim.state_dict(), protected.network.state_dict()
    changed = {key.rpartition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert len(changed) == 1 and head in changed.pop()
    with pytest.raises(ClassificationLayerError, match="LinearHoneypot"):
        replace(honeypot, depth=2).protect(victim, owner)
    assert protected.key is not None
    assert predict(protected.model, tiny_task(3).images).shape == (96, CLASSES)
