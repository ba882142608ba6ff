"""MAD, GRAD² and ModelGuard-W against the way in which their papers' code computes them; for benchmarks/bench/perturbation.py.

A network of 38 000 parameters on 8x8 images (lenet, width 27; 300 000 on 28x28 images), batches of 64, one thread. The rivals:
automatic differentiation class by class and row by row for MAD, double backpropagation and a loop over rows for GRAD², one linear program a
row for ModelGuard-W. Both sides do the same job: the top class is free for MAD and GRAD², kept for ModelGuard-W. Each run of one side is
followed by the same of the other.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from honeyguard.defenses import DEFENSES, GRAD2, MAD, Guarantee, ModelGuardW, ReverseSigmoid
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.defenses.simplex import MARGIN
from honeyguard.defenses.surrogate_defense import SurrogateDefense, WithNetwork
from honeyguard.training import Network
from honeyguard.types import OutputDefense as Output
from honeyguard.types import Served

SHAPE, BATCH, EPSILON = (1, 8, 8), 64, 1.0
ROWS = 10_000
NETWORK = Network(model="lenet", arguments={"width": 27})


def mad_by_loops(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """Row by row: all gradients, then the objective at every corner."""
    parameters = list(network.parameters())
    found = []
    for image, row in zip(images, y, strict=True):
        losses = -network(image[None]).log_softmax(1)[0]
        g = torch.stack([torch.cat([part.flatten() for part in torch.autograd.grad(a, parameters, retain_graph=True)]) for a in losses])
        best, corner = -1.0, row
        for one in torch.eye(len(row)):
            turned, true = g.T @ one, g.T @ row  # the published objective takes both answers anew each time
            value = float((turned / turned.norm() - true / true.norm()).norm() ** 2)
            if value > best:
                best, corner = value, one
        step = min(1.0, EPSILON / float((corner - row).abs().sum()))
        found.append((1 - step) * row + step * corner)
    return torch.stack(found)


def grad2_by_double_backpropagation(network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    """The gradient of the whole batch is the target; then row by row, class by class, mass to the class that is aligned the least."""
    answers = y.clone().requires_grad_()
    loss = (answers * network(images).log_softmax(1)).sum(1).mean(0)
    gradients = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()), create_graph=True)])
    (costs,) = torch.autograd.grad(gradients @ gradients.detach(), answers)
    found = []
    for row, cost in zip(y, costs, strict=True):
        order, out = cost.argsort(), row.clone()
        wanted, have, dearest = min(1 - out[order[0]].item(), EPSILON / 2), torch.zeros(()), len(row) - 1  # a tensor, as published
        while have < wanted and dearest > 0:
            part = torch.minimum(out[order[dearest]], wanted - have)
            out[order[dearest]] -= part
            have, dearest = have + part, dearest - 1
        out[order[0]] += have
        found.append(out)
    return torch.stack(found)


def modelguard_w_by_programs(y: Tensor) -> Tensor:
    """One linear program a row, by SciPy's HiGHS: ỹ = y + up - down."""
    k = y.shape[1]
    eye, found = np.eye(k), []
    for row in y.double().numpy():
        top, cost = row.argmax(), np.log(row + 1e-6)
        others = np.arange(k) != top
        ahead = (eye - eye[top])[others]
        margin = min(MARGIN, row[top] - row[others].max())
        bounds = np.vstack([-np.hstack([eye, -eye]), np.ones((1, 2 * k)), np.hstack([ahead, -ahead])])
        limits = np.concatenate([row, [EPSILON], (row[top] - row - margin)[others]])
        balanced = np.hstack([np.ones((1, k)), -np.ones((1, k))])
        moves = linprog(np.hstack([cost, -cost]), bounds, limits, balanced, [0], method="highs").x
        found.append(row + moves[:k] - moves[k:])
    return torch.tensor(np.array(found), dtype=y.dtype)


def seconds(run: Callable[[], Tensor]) -> float:
    """Of processor time, which other programs on the machine change less than the clock on the wall; with one thread they are the same."""
    started = time.process_time()
    run()
    return time.process_time() - started


def ratios(ours: Callable[[], Tensor], rival: Callable[[], Tensor], rival_rows: int, repeats: int) -> dict[str, Any]:
    """Rows a second of both, and the median of the ratios, the two sides in turns."""
    runs = max(1, round(0.05 / max(seconds(ours), seconds(ours))))
    rows: dict[str, list[float]] = {"ours": [], "rival": []}
    for _ in range(repeats):
        rows["rival"].append(rival_rows / seconds(rival))
        rows["ours"].append(BATCH / statistics.median(seconds(ours) for _ in range(runs)))
    values = [a / b for a, b in zip(rows["ours"], rows["rival"], strict=True)]
    medians = {f"{side}_rows_per_second": statistics.median(each) for side, each in rows.items()}
    return medians | {"ratio": statistics.median(values), "lowest": min(values), "highest": max(values)}


def all_defenses(surrogate: nn.Module) -> dict[str, Output]:
    """Every output defense, and those that can have a surrogate once more with it."""
    promised = Guarantee(defense=ReverseSigmoid(keep_top1=False), max_l1=EPSILON)
    kinds = {name: kind for name, kind in DEFENSES.items() if issubclass(kind, OutputDefense)}
    defenses: dict[str, Output] = {name: promised if kind is Guarantee else kind() for name, kind in kinds.items()}
    return defenses | {f"{name}_surrogate": WithNetwork(d, surrogate) for name, d in defenses.items() if isinstance(d, SurrogateDefense)}


def serving_costs(repeats: int) -> dict[str, dict[str, float]]:
    """Time of a served model over the undefended one, ten classes, for every output defense and for those with a surrogate."""
    network = NETWORK.fresh(SHAPE, 10, 0).eval()
    found: dict[str, dict[str, float]] = {}
    for name, defense in all_defenses(NETWORK.fresh(SHAPE, 10, 1).eval()).items():
        found[name] = {}
        for n in (1, BATCH):
            images = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0))
            sides = [partial(Served(network, outputs).eval(), images) for outputs in ((), (defense,))]
            with torch.inference_mode():
                runs = max(3, round(0.02 / seconds(sides[1])))
                pairs = [[seconds(side) for side in sides] for _ in range(runs * repeats)]
            found[name][f"batch_{n}"] = statistics.median(after / before for before, after in pairs)
            found[name][f"batch_{n}_added_microseconds"] = statistics.median(1e6 * (after - before) for before, after in pairs)
    return found


def from_the_limit(repeats: int) -> dict[str, float]:
    """Time over the least that it could take: for a function of the rows, to copy them, which memory allows; with a surrogate, one pass
    of the batch through it, forward and back, which the gradient costs."""
    surrogate = NETWORK.fresh(SHAPE, 10, 1).eval()
    found: dict[str, float] = {}
    for name, defense in all_defenses(surrogate).items():
        rows = BATCH if isinstance(defense, WithNetwork) else ROWS
        y = torch.softmax(3 * torch.randn(rows, 10, generator=torch.Generator().manual_seed(0)), 1)
        images = torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(0))
        if isinstance(defense, WithNetwork):
            sides = [partial(_there_and_back, surrogate, y, images), partial(defense, y, images)]
        else:
            sides = [partial(torch.clone, y), partial(defense, y)]
        pairs = [(seconds(partial(_ten_times, sides[0])) / 10, seconds(sides[1])) for _ in range(repeats + 1)][1:]
        found[name] = statistics.median(after / least for least, after in pairs)
    return found


def _there_and_back(network: nn.Module, y: Tensor, images: Tensor) -> Tensor:
    loss = nn.functional.cross_entropy(network(images), y)
    return torch.autograd.grad(loss, list(network.parameters()))[0]


def _ten_times(run: Callable[[], Tensor]) -> Tensor:
    for _ in range(9):
        run()
    return run()


def measure(repeats: int = 7) -> tuple[dict[str, float], dict[str, Any]]:
    """Headline (throughput ratios) and everything measured; docs/perturbations.md shows `serving_cost` and `over_the_limit` of it."""
    details: dict[str, Any] = {"parameters": {}}
    for k in (10, 100):
        generator = torch.Generator().manual_seed(k)
        network = NETWORK.fresh(SHAPE, k, 0).eval()
        images, logits = torch.rand(BATCH, *SHAPE, generator=generator), 3 * torch.randn(BATCH, k, generator=generator)
        y, few = logits.softmax(1), 16 if k == 10 else 4  # rows of the rivals that go row by row
        details["parameters"][f"k{k}"] = sum(p.numel() for p in network.parameters())
        grad2, mad = GRAD2(epsilon=EPSILON, keep_top1=False), MAD(epsilon=EPSILON, keep_top1=False)
        by_loops = partial(mad_by_loops, network, images[:few], y[:few])
        by_double = partial(grad2_by_double_backpropagation, network, images, y)
        by_programs = partial(modelguard_w_by_programs, y[:few])
        details |= {
            f"grad2_k{k}": ratios(partial(WithNetwork(grad2, network), y, images), by_double, BATCH, repeats),
            f"grad2_last_layer_k{k}": ratios(partial(grad2, y), by_double, BATCH, repeats),
            f"mad_k{k}": ratios(partial(WithNetwork(mad, network), y, images), by_loops, few, repeats),
            f"mad_last_layer_k{k}": ratios(partial(mad, y), by_loops, few, repeats),
            f"modelguard_w_k{k}": ratios(partial(ModelGuardW(epsilon=EPSILON), y), by_programs, few, repeats),
        }
    headline = {name: part["ratio"] for name, part in details.items() if "ratio" in part}
    headline["modelguard_w"] = headline.pop("modelguard_w_k10")
    details["serving_cost"], details["over_the_limit"] = serving_costs(repeats), from_the_limit(repeats)
    return headline, details
