"""Networks: built-in constructors, a user's own model, and the classification layer of either."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from honeyguard import hub
from honeyguard.errors import ClassCountError, ClassificationLayerError, ModelError, UnknownNameError

# --------------------------------------------------------------------------------------------------------- constructors


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """x + body(x), with a 1×1 projection where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inputs, outputs, stride), _conv(outputs, outputs))
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.skip(x) + self.body(x)
        return out


def _network(channels: int, *stages: nn.Module, features: int, classes: int) -> nn.Sequential:
    """Input normalisation (learnt, inside the model), stages, classification layer."""
    return nn.Sequential(nn.BatchNorm2d(channels, affine=False), *stages, nn.Linear(features, classes))


def cnn(shape: tuple[int, ...], classes: int, width: int = 16) -> nn.Module:
    """A narrow residual network of four stages; 8 · width features."""
    c, w = shape[0], width
    stages = (
        _conv(c, w),
        _conv(w, 2 * w, 2),
        Residual(2 * w, 2 * w),
        _conv(2 * w, 4 * w, 2),
        Residual(4 * w, 4 * w),
        _conv(4 * w, 8 * w, 2),
    )
    return _network(c, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), features=8 * w, classes=classes)


def vgg(shape: tuple[int, ...], classes: int, width: int = 16) -> nn.Module:
    """Two pooled pairs of convolutions and a hidden layer of 8 · width features."""
    c, w, pooled = shape[0], width, 2 * width * (shape[1] // 4) * (shape[2] // 4)
    stages = (_conv(c, w), _conv(w, w), nn.MaxPool2d(2), _conv(w, 2 * w), _conv(2 * w, 2 * w), nn.MaxPool2d(2))
    return _network(c, *stages, nn.Flatten(), nn.Linear(pooled, 8 * w), nn.ReLU(), features=8 * w, classes=classes)


def allconv(shape: tuple[int, ...], classes: int, width: int = 32) -> nn.Module:
    """Two strided convolutions and nothing hidden: all their activations are features."""
    c, w = shape[0], width
    features = 2 * w * -(-shape[1] // 4) * -(-shape[2] // 4)
    return _network(c, _conv(c, w, 2), _conv(w, 2 * w, 2), nn.Flatten(), features=features, classes=classes)


def lenet(shape: tuple[int, ...], classes: int, width: int = 16) -> nn.Module:
    """Two pooled convolutions without batch normalisation and a hidden layer (after LeCun et al. 1998)."""
    c, w, pooled = shape[0], width, 2 * width * (shape[1] // 4) * (shape[2] // 4)
    first, second = nn.Conv2d(c, w, 3, 1, 1), nn.Conv2d(w, 2 * w, 3, 1, 1)
    stages = (first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return _network(c, *stages, nn.Linear(pooled, 4 * w), nn.ReLU(), features=4 * w, classes=classes)


def mlp(shape: tuple[int, ...], classes: int, width: int = 128) -> nn.Module:
    """A fully connected network of two hidden layers."""
    c, pixels, w = shape[0], shape[0] * shape[1] * shape[2], width
    return _network(c, nn.Flatten(), nn.Linear(pixels, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(), features=w, classes=classes)


def two_layer(shape: tuple[int, ...], classes: int, width: int = 32) -> nn.Module:
    """One hidden layer and no normalisation: the form whose weights `honeyguard.attacks.equivalent` reads off."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width), nn.ReLU(), nn.Linear(width, classes))


def _resnet(shape: tuple[int, ...], classes: int, width: int, blocks: tuple[int, ...]) -> nn.Module:
    stages: list[nn.Module] = [_conv(shape[0], width)]
    inputs = width
    for i, count in enumerate(blocks):
        for j in range(count):
            outputs = width * 2**i
            stages.append(Residual(inputs, outputs, 2 if i and not j else 1))
            inputs = outputs
    return _network(shape[0], *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), features=inputs, classes=classes)


def resnet18(shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Module:
    """ResNet-18 with the CIFAR stem (He et al. 2016)."""
    return _resnet(shape, classes, width, (2, 2, 2, 2))


def resnet34(shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Module:
    """ResNet-34 with the CIFAR stem (He et al. 2016)."""
    return _resnet(shape, classes, width, (3, 4, 6, 3))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
    "vgg": vgg,
    "allconv": allconv,
    "lenet": lenet,
    "mlp": mlp,
    "two_layer": two_layer,
    "resnet18": resnet18,
    "resnet34": resnet34,
}

# ------------------------------------------------------------------------------------------------------------- building


@dataclass(frozen=True)
class Architecture:
    """How to build a network without its weights; what a manifest stores.

    Args:
        spec: a name in `MODELS`, `hf:model type`, `timm:name`, or `package.module:function`.
        arguments: what the constructor takes.
    """

    spec: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def foreign(self) -> bool:
        """Whether building runs code that neither Honeyguard nor a library of its extras holds."""
        return ":" in self.spec and not self.spec.startswith(("hf:", "timm:"))

    def build(self) -> nn.Module:
        """A network with fresh weights, labelled with this architecture."""
        kind, _, name = self.spec.rpartition(":")
        if kind == "hf":
            network = hub.huggingface(name, **self.arguments)
        elif kind == "timm":
            network = hub.timm(name, **self.arguments)
        elif kind:
            network = _python(kind, name)
        elif name in MODELS:
            network = MODELS[name](**self.arguments)
        else:
            raise UnknownNameError("model", name, [*MODELS, "hf:…", "timm:…", "package.module:function"])
        network.architecture = self  # type: ignore[assignment]
        return network


def architecture_of(network: nn.Module) -> Architecture | None:
    """The architecture a network was built from; None for a user's own module."""
    found = getattr(network, "architecture", None)
    return found if isinstance(found, Architecture) else None


def load_model(spec: str, shape: tuple[int, ...], classes: int, weights: Path | None = None, **arguments: Any) -> nn.Module:
    """Build the model that `spec` names, for images (C, H, W) and K classes, and load its safetensors weights.

    Args:
        spec: a name in `MODELS`, `hf:folder or id`, `timm:name`, or `package.module:function` returning an `nn.Module`.
        weights: a safetensors file; `hf:` reads its own.
    Raises: ModelError, UnknownNameError, MissingExtraError.
    """
    if spec.startswith("hf:"):
        network, found = hub.load_huggingface(spec.removeprefix("hf:"))
        network.architecture = Architecture(*found)  # type: ignore[assignment]
    elif ":" in spec and not spec.startswith("timm:"):
        network = Architecture(spec).build()
    else:
        network = Architecture(spec, {"shape": tuple(shape), "classes": classes, **arguments}).build()
    if weights is not None:
        load_weights(network, weights)
    return network.eval()


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a safetensors file into `network`, every tensor of it and no other. Raises: ModelError."""
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError("a safetensors file", f"{path} ({error})", "Save it with safetensors.torch.save_file.") from None
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ModelError("weights that fit the model", detail, "Name the constructor that these weights come from.") from None


def _python(module: str, function: str) -> nn.Module:
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ModelError("package.module:function", f"{module}:{function} ({error})", "Install the package, or set PYTHONPATH.") from None
    if not isinstance(made, nn.Module):
        raise ModelError("a function that returns an nn.Module", f"a {type(made).__name__}", "Return the network itself.")
    return made


# ------------------------------------------------------------------------------------------------- classification layer


def find_head(network: nn.Module, sample: Tensor, classes: int | None = None, name: str | None = None) -> str:
    """The dotted path of the classification layer: the `nn.Linear` whose outputs are the logits.

    Args:
        sample: one or more images (N, C, H, W); the network is run once on them.
        classes: K that the data has; None takes the network's own.
        name: the path, when the owner names the layer.
    Raises:
        ClassCountError: the network has another K.
        ClassificationLayerError: no such layer, or several candidates.
    """
    calls: list[tuple[str, Tensor]] = []
    linear = {path: module for path, module in network.named_modules() if isinstance(module, nn.Linear)}
    hooks = [m.register_forward_hook(lambda _m, _i, out, p=path: calls.append((p, out))) for path, m in linear.items()]
    try:
        logits = predict_logits(network, sample)
    finally:
        for hook in hooks:
            hook.remove()
    k = logits.shape[1]
    if classes is not None and k != classes:
        raise ClassCountError(
            f"a model of {classes} classes, as the data has", f"one of {k}", "Bring the data that the model was made for."
        )
    expected = f"one nn.Linear with {k} outputs whose output is the model's logits"
    if name is not None:
        if name not in linear:
            raise ClassificationLayerError(expected, repr(name), f"Linear layers here: {', '.join(linear) or 'none'}.")
        return name
    exact = [path for path, out in calls if out.shape == logits.shape and torch.equal(out, logits)]
    if len(exact) == 1:
        return exact[0]
    candidates = exact or [path for path, out in calls if out.shape[-1] == k]
    got = f"{len(candidates)} candidates ({', '.join(candidates)})" if candidates else "none"
    raise ClassificationLayerError(expected, got, "Return logits straight from one linear layer, or name the layer by its dotted path.")


def predict_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits (N, K) for images (N, C, H, W), in evaluation mode, without gradients. Raises: ModelError."""
    try:
        with torch.no_grad():
            logits = network.eval()(images)
    except (RuntimeError, ValueError) as error:
        got = f"images {tuple(images.shape)}: {' '.join(str(error).split())[:200]}"
        raise ModelError("a model that takes the data's images", got, "Resize the images, or bring the model made for them.") from None
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ModelError("a model that returns logits (N, K), K ≥ 2", got, "Wrap it in a module that returns the logits.")
    return logits


def head_features(network: nn.Module, head: str, images: Tensor, batch: int = 64) -> Tensor:
    """The classification layer's inputs (N, D) for images (N, C, H, W): the features of the frozen backbone."""
    captured: list[Tensor] = []
    hook = network.get_submodule(head).register_forward_pre_hook(lambda _m, inputs: captured.append(inputs[0]))
    try:
        with torch.no_grad():
            for part in images.split(batch):
                network.eval()(part)
    finally:
        hook.remove()
    return torch.cat(captured)
