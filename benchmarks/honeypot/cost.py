"""What the honeypot costs its owner, on scikit-learn's digits: time to protect, step by step, and time to serve.

    python benchmarks/honeypot/cost.py --output results/honeypot/cost.json

Seconds of protecting are those of the processor, of one thread, the profiler's own included. Serving is ONNX Runtime on one thread; victim
and honeypots take turns, so that a busy machine slows all of them, and figures are medians.
"""

import cProfile
import pstats
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cyclopts
import onnx
import onnxruntime
import torch
from torch import nn

from honeyguard import data
from honeyguard.benchmark.record import recorded
from honeyguard.defenses import Honeypot
from honeyguard.export import export_onnx
from honeyguard.repro import derive
from honeyguard.stats import mean
from honeyguard.training import Network, Recipe
from honeyguard.types import Labelled, OwnerData, Protected

VICTIM = Network(model="vgg", recipe=Recipe(epochs=60, lr=0.006, batch=64, optimiser="adamw", weight_decay=1e-3))
STEPS = {
    "train_references": "reference models, once",
    "simulate_extraction": "1 simulate extraction",
    "update_trigger": "2 generate the trigger",
    "finetune": "3 fine-tune",
}
SIZES = {"victim": 550, "customers": 200, "shadow": 300, "thief": 400, "test": 0}


def profiled(honeypot: Honeypot, parts: dict[str, Labelled], seed: int) -> tuple[nn.Module, Protected, dict[str, float]]:
    """Victim and protected model, and seconds: of the victim's training, of protecting, of each step."""
    victim, owner = parts["victim"], parts["shadow"]
    started = time.process_time()
    network = VICTIM.trained(victim.images, victim.labels, victim.classes, derive(seed, "victim"))
    seconds = {"training the victim": time.process_time() - started}
    shadow_set = data.distorted(owner.images, 3, derive(seed, "shadow"))
    profile = cProfile.Profile(time.process_time)
    started = time.process_time()
    protected = profile.runcall(honeypot.protect, network, OwnerData(victim, shadow_set, parts["customers"].images))
    seconds["protecting"] = time.process_time() - started
    spent = {name: total for (_, _, name), (_, _, _, total, _) in pstats.Stats(profile).stats.items() if name in STEPS}  # type: ignore[attr-defined]
    return network, protected, seconds | {STEPS[name]: spent[name] for name in STEPS}


def serving(models: dict[str, Protected], images: torch.Tensor, turns: int) -> dict[str, dict[str, Any]]:
    """Nodes of each model's graph, and milliseconds of an answer to 1 and to 64 images (N, C, H, W)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions, nodes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, protected in models.items():
            path = Path(folder) / "model.onnx"
            export_onnx(protected, path, tuple(images.shape[1:]), features=False)
            nodes[name] = len(onnx.load(path).graph.node)
            sessions[name] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: dict[str, dict[str, Any]] = {name: {"nodes": nodes[name]} for name in models}
    for batch, repeats in ((1, 200), (64, 20)):
        sent, times = {"images": images[:batch].numpy()}, {name: list[float]() for name in models}
        for _ in range(turns):
            for name, session in sessions.items():
                started = time.perf_counter()
                for _ in range(repeats):
                    session.run(["probabilities"], sent)
                times[name].append((time.perf_counter() - started) / repeats)
        for name, values in times.items():
            found[name] |= {f"batch_{batch}_ms": 1e3 * statistics.median(values)}
            ratios = [value / other for value, other in zip(values, times["victim"], strict=True)]
            found[name] |= {f"batch_{batch}_over_victim": statistics.median(ratios)}
    return found


def main(*, output: Path, seeds: tuple[int, ...] = (30, 31, 32), turns: int = 101) -> None:
    """Write what protecting and serving cost to OUTPUT.

    Args:
        seeds: of data, victim and honeypot.
        turns: timings of each model.
    """
    torch.set_num_threads(1)
    rows, models = [], dict[str, Protected]()
    with recorded(output, seeds=seeds, turns=turns) as content:
        for seed in seeds:
            parts = data.split(data.load("digits"), SIZES, derive(seed, "split"))
            network, protected, seconds = profiled(Honeypot(seed=seed), parts, seed)
            rows.append(seconds)
        victim, shadow_set = parts["victim"], parts["shadow"].images
        quick = replace(Honeypot(seed=seed), rounds=1, keep_top1=0.9)
        models = {
            "victim": Protected.of(network),
            "honeypot": protected,
            "honeypot, keep_top1": quick.protect(network, OwnerData(victim, shadow_set)),
        }
        content["seconds"] = {name: mean([row[name] for row in rows]).record() for name in rows[0]}
        content["serving"] = served = serving(models, parts["test"].images, turns)
        shares = {f"share_{name}": mean([row[step] / row["protecting"] for row in rows]).value for name, step in STEPS.items()}
        content["headline"] = {
            "protect_over_training_time": mean([row["protecting"] / row["training the victim"] for row in rows]).value,
            **shares,
            **{f"nodes_{name.replace(', ', '_')}": float(figures["nodes"]) for name, figures in served.items()},
            **{
                f"batch_{batch}_{name.replace(', ', '_')}_over_victim": figures[f"batch_{batch}_over_victim"]
                for name, figures in served.items()
                for batch in (1, 64)
                if name != "victim"
            },
        }


if __name__ == "__main__":
    cyclopts.run(main)
