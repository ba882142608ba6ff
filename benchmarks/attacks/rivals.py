"""Copycat and Knockoff against the adversarial-robustness-toolbox, side by side: same victim, pool, budget, network, epochs, one thread.

    python benchmarks/attacks/rivals.py --output results/attacks/rivals.json

The rival sees logits, as its attacks expect, and its labels or their softmax; ours an oracle's probabilities. Each theft of one side is
followed by the same of the other, so that a busy machine slows both; times are processor seconds of the one thread, medians over seeds
and repeats.
"""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cyclopts
import numpy as np
import torch
from art.attacks.extraction import CopycatCNN, KnockoffNets
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from honeyguard import data
from honeyguard.attacks import Extraction
from honeyguard.attacks.answers.as_given import AsGiven
from honeyguard.attacks.answers.top1 import Top1
from honeyguard.attacks.queries.knockoff import AdaptiveKnockoff
from honeyguard.attacks.queries.random import RandomQueries
from honeyguard.benchmark.record import recorded
from honeyguard.metrics import fidelity
from honeyguard.oracle import Local, predict
from honeyguard.repro import derive
from honeyguard.stats import mean
from honeyguard.training import Network, Recipe
from honeyguard.types import Labelled, Protected

BUDGET, EPOCHS, BATCH, LR = 500, 30, 64, 0.003
SUBSTITUTE = Network(model="lenet", arguments={"width": 27})  # 38 000 parameters
OURS = {
    "copycat": (RandomQueries(), Top1()),
    "knockoff_random": (RandomQueries(), AsGiven()),
    "adaptive": (AdaptiveKnockoff(), AsGiven()),
}


class Probabilities(nn.Module):
    """The rival trains a network that answers with logits on the probabilities it was given, by its own soft-label loss."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets)


def rival(name: str, victim: nn.Module, pool: Labelled, substitute: nn.Module) -> nn.Module:
    """The theft with the toolbox, with Adam as its examples use it."""

    def wrapped(network: nn.Module) -> PyTorchClassifier:
        optimiser = torch.optim.Adam(network.parameters(), lr=LR)
        return PyTorchClassifier(
            network, loss=Probabilities(), optimizer=optimiser, input_shape=pool.shape, nb_classes=10, clip_values=(0, 1), device_type="cpu"
        )

    settings = {"batch_size_fit": BATCH, "batch_size_query": BATCH, "nb_epochs": EPOCHS, "nb_stolen": BUDGET}
    asked = wrapped(victim if name == "copycat" else nn.Sequential(victim, nn.Softmax(1)))
    if name == "copycat":
        attack = CopycatCNN(asked, **settings)
    else:
        strategy = name.removeprefix("knockoff_")
        attack = KnockoffNets(asked, sampling_strategy=strategy, use_probability=True, verbose=False, **settings)
    labels = pool.labels.numpy() if name == "adaptive" else None
    attack.extract(pool.images.numpy(), labels, thieved_classifier=wrapped(substitute))
    return substitute.eval()


def ours(name: str, victim: nn.Module, pool: Labelled, seed: int, substitute: nn.Module) -> nn.Module:
    query, answer = OURS[name]
    recipe = Recipe(epochs=EPOCHS, batch=BATCH, lr=0.012, optimiser="adamw", weight_decay=1e-4, augment="none", channels_last=True)
    attack = Extraction(budget=BUDGET, query=query, answer=answer, recipe=recipe, seed=seed)
    return attack.extract(Local(Protected.of(victim)), pool.images, substitute)


def main(*, output: Path, seeds: int = 10, repeats: int = 3) -> None:
    """Write the comparison to OUTPUT.

    Args:
        seeds: victims, pools and substitutes.
        repeats: of each timing.
    """
    torch.set_num_threads(1)
    agreement: dict[str, dict[str, list[float]]] = {name: {"ours": [], "rival": []} for name in OURS}
    seconds: dict[str, dict[str, list[float]]] = copy.deepcopy(agreement)
    with recorded(output, seeds=range(seeds), repeats=repeats, budget=BUDGET, epochs=EPOCHS, batch=BATCH, lr=LR) as content:
        for seed in range(seeds):
            parts = data.split(data.load("digits"), {"victim": 600, "pool": 700, "test": 0}, seed)
            whole = Network(model="vgg", recipe=Recipe(epochs=30, lr=0.006, batch=64, optimiser="adamw", weight_decay=1e-3))
            victim = whole.trained(parts["victim"].images, parts["victim"].labels, 10, derive(seed, "victim"))
            expected = predict(victim, parts["test"].images)
            for name in OURS:
                untrained = SUBSTITUTE.fresh(parts["pool"].shape, 10, derive(seed, "substitute"))
                sides: dict[str, Callable[[nn.Module], nn.Module]] = {
                    "rival": partial(rival, name, victim, parts["pool"]),
                    "ours": partial(ours, name, victim, parts["pool"], seed),
                }
                for repeat in range(repeats):
                    for side, steal in sides.items():
                        np.random.seed(derive(seed, repeat))
                        torch.manual_seed(seed)
                        started = time.process_time()
                        stolen = steal(copy.deepcopy(untrained))
                        seconds[name][side].append(time.process_time() - started)
                        if repeat == 0:
                            agreement[name][side].append(fidelity(predict(stolen, parts["test"].images), expected).value)
        gains = {
            f"{name}_agreement_gain": 100 * mean([a - b for a, b in zip(both["ours"], both["rival"], strict=True)]).value
            for name, both in agreement.items()
        }
        speeds = {f"{name}_speed": statistics.median(both["rival"]) / statistics.median(both["ours"]) for name, both in seconds.items()}
        content["headline"] = gains | speeds
        content["agreement"] = {n: {side: mean(v).record() | {"values": v} for side, v in both.items()} for n, both in agreement.items()}
        content["gain_points"] = {
            n: mean([100 * (a - b) for a, b in zip(both["ours"], both["rival"], strict=True)]).record() for n, both in agreement.items()
        }
        content["seconds"] = {n: {s: statistics.median(v) for s, v in both.items()} for n, both in seconds.items()}
        content["rival"] = "adversarial-robustness-toolbox"


if __name__ == "__main__":
    cyclopts.run(main)
