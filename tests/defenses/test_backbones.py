"""Backbones from Hugging Face, from a configuration: features once, one linear layer trained, weights of the rest untouched."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from honeyguard.checks import CLASSES, tiny_task
from honeyguard.defenses import Honeypot
from honeyguard.models import Architecture
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
    victim = Architecture(f"hf:{name}", {"config": config, "mean": [0.5], "std": [0.5]}).build().eval()
    honeypot = SMALL["honeypot"]
    assert isinstance(honeypot, Honeypot)
    said = predict(victim, owner.shadow_set).argmax(1)
    protected = replace(honeypot, rounds=1, target_class=int(said.mode().values)).protect(victim, owner)
    before, after = victim.state_dict(), protected.network.state_dict()
    changed = {key.rpartition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert len(changed) == 1 and "classifier" in changed.pop()
    assert predict(protected.model, tiny_task(3).images).shape == (96, CLASSES)
