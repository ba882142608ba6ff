"""What a thief would learn from an answer: gradients of a stand-in for its model, of the owner's.

G (K, D) of an image has the gradients of the log-probability of each class by the stand-in's D parameters. A thief who trains on ỹ moves
along Gᵀỹ; defenses need inner products of such moves only, which come without G: where a layer is linear in its weights, a gradient is an
outer product of what enters the layer and what comes back.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from honeyguard.errors import ModelError

KINDS = (nn.Linear, nn.Conv2d, nn.BatchNorm2d)


def gram(network: nn.Module, images: Tensor) -> Tensor:
    """G Gᵀ (N, K, K) of each image: one forward pass and one batched backward pass.

    Raises: ModelError: parameters in other layers than linear, convolutional or batch normalisation.
    """
    layers = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    if odd := [module for module in layers if not isinstance(module, KINDS) or getattr(module, "groups", 1) != 1]:
        raise ModelError("a surrogate of linear and convolutional layers and batch normalisation", repr(odd[0]), "Choose another network.")
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def remember(module: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
        calls.append((module, inputs[0].detach(), out))
        return out

    network.eval()
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(remember).remove)
        logits = network(images.clone().requires_grad_())
        n, k = logits.shape
        ways = torch.eye(k, device=images.device)[:, None].expand(k, n, k)
        ways = ways - logits.detach().softmax(1)  # of each class's log-probability by the logits
        backs = torch.autograd.grad(logits, [out for *_, out in calls], ways, is_grads_batched=True)
    total: Tensor = logits.new_zeros(n, k, k)
    for (module, entering, _), back in zip(calls, backs, strict=True):
        total += _gram_of(module, entering, back.transpose(0, 1))
    return total.detach()


def _gram_of(module: nn.Module, entering: Tensor, back: Tensor) -> Tensor:
    """One layer's part, from its inputs (N, …) and what comes back to its outputs (N, K, …)."""
    n, k = back.shape[:2]
    if isinstance(module, nn.Linear):
        norms = (entering**2).sum(1) + (module.bias is not None)
        return back @ back.mT * norms[:, None, None]
    back = back.flatten(3)  # (N, K, channels, places)
    if isinstance(module, nn.Conv2d):
        patches = F.unfold(entering, module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
        if module.bias is not None:
            patches = F.pad(patches, (0, 0, 0, 1), value=1.0)
        gradients = back @ patches[:, None].mT
    else:
        scaled = F.batch_norm(entering, module.running_mean, module.running_var, eps=module.eps).flatten(2)  # type: ignore[arg-type]
        gradients = torch.stack([(back * scaled[:, None]).sum(3), back.sum(3)], 3)
    flat = gradients.reshape(n, k, -1)
    found: Tensor = flat @ flat.mT
    return found


def alignment(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """G Gᵀy (N, K): how each class's gradient is aligned with the true one; one backward and one forward pass, whatever K is."""
    network.eval()
    with torch.inference_mode(False):
        given, targets = images.clone(), y.clone()
        parameters = {name: value.detach() for name, value in network.named_parameters()}

        def logs(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
            out: Tensor = functional_call(network, parameters, (image[None],))[0].log_softmax(0)
            return out

        def loss(parameters: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
            return (target * logs(parameters, image)).sum()

        def aligned(image: Tensor, target: Tensor) -> Tensor:
            way = grad(loss)(parameters, image, target)
            along: Callable[[dict[str, Tensor]], Tensor] = lambda p: logs(p, image)  # noqa: E731
            found: Tensor = jvp(along, (parameters,), (way,))[1]
            return found

        return vmap(aligned)(given, targets).detach()
