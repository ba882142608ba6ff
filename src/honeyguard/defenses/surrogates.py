"""What a thief would learn from an answer: gradients of a stand-in for its model, of the owner's.

G (K, D) of an image has the gradients of the log-probability of each class by the stand-in's D parameters. A thief who trains on ỹ moves
along Gᵀỹ; defenses need inner products of such moves only, which come without G: a layer that is linear in its weights has as gradient the
outer product of what comes back to its outputs and what enters it, summed over the places of a convolution.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.errors import ModelError

KINDS = (nn.Linear, nn.Conv2d, nn.BatchNorm2d)


def gram(network: nn.Module, images: Tensor) -> Tensor:
    """G Gᵀ (N, K, K) of each image: one forward pass and one batched backward pass.

    Raises: ModelError: parameters in other layers than linear, convolutional or batch normalisation.
    """
    calls, logits = _watched(network, images)
    n, k = logits.shape
    ways = torch.eye(k, device=images.device)[:, None] - logits.detach().softmax(1)  # of each class's log-probability by the logits
    backs = torch.autograd.grad(logits, [call.out for call in calls], ways, is_grads_batched=True)
    total: Tensor = logits.new_zeros(n, k, k)
    for call, back in zip(calls, backs, strict=True):
        total += call.products(back.flatten(3) if back.ndim > 3 else back[..., None])
    return total.detach()


def alignment(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """G Gᵀy (N, K): how each class's gradient is aligned with the true one. One forward and two backward passes, whatever K is.

    What comes back to the layers is linear in the answer u that it is asked for; the second pass differentiates ⟨Gᵀu, Gᵀy⟩ by u.
    Raises: as `gram`.
    """
    calls, logits = _watched(network, images)
    with torch.enable_grad():
        u = y.detach().clone().requires_grad_()
        way = u - logits.detach().softmax(1) * u.sum(1, keepdim=True)
        backs = torch.autograd.grad(logits, [call.out for call in calls], way, create_graph=True)
        moves = [call.move(back.detach()) for call, back in zip(calls, backs, strict=True)]
        return torch.autograd.grad(backs, u, moves)[0]


@dataclass(frozen=True, eq=False)
class _Call:
    """A layer that was called once, with what entered and what came out."""

    module: nn.Module
    entering: Tensor
    out: Tensor

    def products(self, back: Tensor) -> Tensor:
        """Inner products (N, K, K) of the gradients, from what comes back (K, N, channels, places)."""
        if isinstance(self.module, nn.BatchNorm2d):
            left = right = (back * self.normalised()).sum(3, keepdim=True)
        else:
            patches = self.patches()
            few = patches.shape[2] < patches.shape[1]  # places than weights: ⟨B PᵀP, B⟩ without the gradients B Pᵀ
            left, right = (back @ (patches.mT @ patches), back) if few else (back @ patches.mT,) * 2
        found = left.flatten(2).transpose(0, 1) @ right.flatten(2).permute(1, 2, 0)
        if self.module.bias is not None:
            biases = back.sum(3)
            found += biases.transpose(0, 1) @ biases.permute(1, 2, 0)
        return found

    def move(self, back: Tensor) -> Tensor:
        """How the outputs (N, channels, …) move when the weights move along the gradient of what comes back to them."""
        flat = back.flatten(2) if back.ndim > 2 else back[..., None]
        if isinstance(self.module, nn.BatchNorm2d):
            scaled = self.normalised()
            found = (flat * scaled).sum(2, keepdim=True) * scaled
        else:
            patches = self.patches()
            few = patches.shape[2] < patches.shape[1]
            found = flat @ (patches.mT @ patches) if few else flat @ patches.mT @ patches
        if self.module.bias is not None:
            found = found + flat.sum(2, keepdim=True)
        return found.view_as(back)

    def patches(self) -> Tensor:
        """What the weights of an output channel are multiplied with (N, weights, places)."""
        module = self.module
        if isinstance(module, nn.Conv2d):
            return F.unfold(self.entering, module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
        return self.entering[..., None]

    def normalised(self) -> Tensor:
        """What the weights of a batch normalisation are multiplied with (N, channels, places)."""
        module = self.module
        scaled = F.batch_norm(self.entering, module.running_mean, module.running_var, eps=module.eps)  # type: ignore[arg-type]
        return scaled.flatten(2)


def _watched(network: nn.Module, images: Tensor) -> tuple[list[_Call], Tensor]:
    """The layers with parameters, as they were called, and the logits (N, K), ready for a backward pass."""
    layers = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    if odd := [module for module in layers if not isinstance(module, KINDS) or getattr(module, "groups", 1) != 1]:
        raise ModelError("a surrogate of linear and convolutional layers and batch normalisation", repr(odd[0]), "Choose another network.")
    calls: list[_Call] = []

    def remember(module: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> None:
        calls.append(_Call(module, inputs[0].detach(), out))

    network.eval()
    with torch.enable_grad(), _hooked(layers, remember):
        return calls, network(images.detach().requires_grad_())  # so that frozen weights will do


@contextmanager
def _hooked(layers: Any, hook: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(hook).remove)
        yield
