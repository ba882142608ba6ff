"""Models from Hugging Face and timm, behind their extras: normalisation inside, logits out, no remote code."""

from typing import Any

import torch
from torch import Tensor, nn

from honeyguard.errors import MissingExtraError, ModelError


class Normalized(nn.Module):
    """A network that takes images in [0, 1]: (x - mean) / std first, logits out."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        out = self.network((images - self.mean) / self.std)
        return out if isinstance(out, Tensor) else out.logits


def huggingface(name: str, config: dict[str, Any], mean: list[float], std: list[float]) -> nn.Module:
    """A transformers image classifier of model type `name` with fresh weights, from its configuration."""
    transformers = _transformers()
    made = transformers.AutoConfig.for_model(name, **config)
    return Normalized(transformers.AutoModelForImageClassification.from_config(made, trust_remote_code=False), mean, std)


def load_huggingface(source: str) -> tuple[nn.Module, tuple[str, dict[str, Any]]]:
    """A transformers image classifier with its weights from a folder or a hub id, and how to build it again.

    Only safetensors weights are read, and no code that comes with a model is run.
    """
    transformers = _transformers()
    try:
        auto = transformers.AutoModelForImageClassification
        network = auto.from_pretrained(source, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        got = f"{source} ({' '.join(str(error).split())[:200]})"
        raise ModelError("a transformers image classifier with safetensors weights", got, "Check the folder or hub id.") from None
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(source)
        mean, std = list(processor.image_mean), list(processor.image_std)
    except (OSError, ValueError, AttributeError, ImportError):  # no preprocessor: the model takes [0, 1] as it is
        channels = int(getattr(network.config, "num_channels", 3))
        mean, std = [0.0] * channels, [1.0] * channels
    config = network.config.to_diff_dict()
    name = config.pop("model_type")
    return Normalized(network, mean, std), (f"hf:{name}", {"config": config, "mean": mean, "std": std})


def timm(name: str, shape: tuple[int, ...], classes: int, mean: list[float] | None = None, std: list[float] | None = None) -> nn.Module:
    """A timm model with fresh weights for images (C, H, W) and K classes."""
    try:
        import timm as library
    except (ImportError, RuntimeError) as error:  # a broken torchvision raises RuntimeError
        raise MissingExtraError("the extra 'vision'", f"no working timm ({error})", "pip install 'honeyguard[vision]'") from None
    try:
        network = library.create_model(name, pretrained=False, num_classes=classes, in_chans=shape[0])
    except RuntimeError as error:
        raise ModelError("a timm model name", f"{name} ({error})", "See timm.list_models().") from None
    cfg = network.pretrained_cfg
    return Normalized(network, list(mean or cfg["mean"])[: shape[0]], list(std or cfg["std"])[: shape[0]])


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("the extra 'hf'", f"no transformers ({error})", "pip install 'honeyguard[hf]'") from None
    return transformers
