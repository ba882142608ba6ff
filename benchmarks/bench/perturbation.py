"""What deceptive perturbations cost: beside a rival's, and in the graph that is served. One thread, sides interleaved, medians of ratios.

    python benchmarks/bench/perturbation.py --output results/bench/perturbation.json

The rival is adversarial-robustness-toolbox (extra `rivals`), which makes no promise; ours keeps the top class. Rows are softmax(3 · noise):
about one in four has no class above ½ at K = 10, and nearly all at K = 1000. Times are the thread's own.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cyclopts
import numpy as np
import onnxruntime
import torch
from art.defences.postprocessor import ReverseSigmoid as Rival
from rivals_of_perturbation import measure
from torch import Tensor

from honeyguard.benchmark.record import recorded
from honeyguard.defenses import ReverseSigmoid
from honeyguard.export import export_onnx
from honeyguard.models import MODELS
from honeyguard.repro import derive
from honeyguard.types import Protected

Run = Callable[[], Any]
BETA, GAMMA, SCALE = 0.75, 0.2, 3.0
SIZES = {"n1": (1, 10), "k10": (100_000, 10), "k100": (20_000, 100), "k1000": (4_000, 1000)}
NETWORKS: dict[str, tuple[str, tuple[int, int, int], int]] = {
    "lenet_8x8": ("lenet", (1, 8, 8), 27),
    "cnn_28x28": ("cnn", (1, 28, 28), 7),
    "lenet_28x28": ("lenet", (1, 28, 28), 27),
}
GRAPH_COST = "reverse_sigmoid_graph_cost"
SERVED = "lenet_8x8"  # the first two have 38 000 parameters, the last 300 000


def seconds(run: Run, calls: int) -> float:
    """Mean of `calls` calls."""
    started = time.thread_time()
    for _ in range(calls):
        run()
    return (time.thread_time() - started) / calls


def side_by_side(runs: dict[str, Run], repeats: int, least: float = 0.02) -> dict[str, list[float]]:
    """Seconds a call of each, in turns, each turn at least `least` seconds long."""
    calls = {name: max(1, round(least / max(min(seconds(run, 3) for _ in range(2)), 1e-7))) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run, calls[name]))
    return times


def compared(times: dict[str, list[float]], ours: str, other: str) -> dict[str, float]:
    """Throughput of ours over the other's: median and quartiles of the turns' ratios."""
    ratios = np.divide(times[other], times[ours])
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return {"ratio": median, "low": low, "high": high, **{f"{name}_seconds": float(np.median(times[name])) for name in times}}


def against_the_rival(repeats: int, seed: int) -> dict[str, Any]:
    """Ours over ART's, and how far ours stands from a plain copy, which is what memory allows."""
    defense, rival = ReverseSigmoid(beta=BETA, gamma=GAMMA), Rival(beta=BETA, gamma=GAMMA)
    found: dict[str, Any] = {}
    for name, (n, k) in SIZES.items():
        y = rows(n, k, derive(seed, name))
        times = side_by_side({"ours": partial(defense, y), "rival": partial(rival, y.numpy()), "copy": y.clone}, repeats)
        above = float((y.amax(1) > 0.5).float().mean())
        found[f"reverse_sigmoid_{name}"] = {"rows": n, "classes": k, "rows_above_half": above, **compared(times, "ours", "rival")}
        found[f"reverse_sigmoid_{name}"]["share_of_copy_speed"] = compared(times, "ours", "copy")["ratio"]
    return found


def in_the_graph(repeats: int, seed: int) -> dict[str, Any]:
    """The defended graph's time over the undefended one's, less 1, in ONNX Runtime; with the promise, and the equations alone."""
    found: dict[str, Any] = {}
    for name, (model, shape, width) in NETWORKS.items():
        torch.manual_seed(seed)
        network = MODELS[model](shape, 10, width=width).eval()
        parameters = sum(p.numel() for p in network.parameters())
        plain, kept = (ReverseSigmoid(beta=BETA, gamma=GAMMA, keep_top1=keep).protect(network) for keep in (False, True))
        sessions = {name: session(one, shape) for name, one in {"defended": kept, "no_promise": plain, "bare": Protected(network)}.items()}
        for batch in (1, 64):
            images = {"images": np.random.default_rng(seed).random((batch, *shape), np.float32)}
            times = side_by_side({name: partial(one.run, None, images) for name, one in sessions.items()}, repeats)
            cost = compared(times, "bare", "defended")
            alone = compared(times, "bare", "no_promise")["ratio"] - 1
            found[f"{name}_b{batch}"] = {"parameters": parameters, **cost, "cost": cost["ratio"] - 1, "cost_without_promise": alone}
    return found


def top1_kept(seed: int) -> float:
    """Share of rows of every size, kind and strength whose top class stays."""
    kept = [
        ReverseSigmoid(beta=beta, gamma=gamma)(y).argmax(1) == y.argmax(1)
        for beta, gamma in ((1.0, 0.1), (1.0, 0.2), (0.75, 0.2), (0.5, 0.5))
        for k in (2, 10, 100, 1000)
        for scale in (0.3, 1.0, 3.0, 10.0)
        for y in [rows(1000, k, derive(seed, f"top {k} {scale}"), scale)]
    ]
    return float(torch.cat(kept).float().mean())


def rows(n: int, k: int, seed: int, scale: float = SCALE) -> Tensor:
    return torch.softmax(scale * torch.randn(n, k, generator=torch.Generator().manual_seed(seed)), 1)


def session(protected: Protected, shape: tuple[int, int, int]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with TemporaryDirectory() as folder:
        export_onnx(protected, Path(folder) / "model.onnx", shape, features=False)
        return onnxruntime.InferenceSession((Path(folder) / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"])


def main(*, output: Path, repeats: int = 31, seed: int = 0) -> None:
    """Write the times to OUTPUT.

    Args:
        repeats: turns of each side.
        seed: of rows, images and networks.
    """
    torch.set_num_threads(1)
    with recorded(output, seeds=[seed], repeats=repeats, beta=BETA, gamma=GAMMA, networks=NETWORKS) as content:
        graphs = in_the_graph(repeats, seed)
        with torch.inference_mode():
            ratios, kept = against_the_rival(repeats, seed), top1_kept(seed)
        others, details = measure(max(3, repeats // 6))
        content["serving_cost"], content["over_the_limit"] = details.pop("serving_cost"), details.pop("over_the_limit")
        content["rival"], content["graph"] = ratios | details, graphs
        content["headline"] = {
            **{name: found["ratio"] for name, found in ratios.items()},
            **{f"{GRAPH_COST}_b{batch}": graphs[f"{SERVED}_b{batch}"]["cost"] for batch in (1, 64)},
            **{f"{GRAPH_COST}_28x28_b{batch}": graphs[f"cnn_28x28_b{batch}"]["cost"] for batch in (1, 64)},
            **{f"{GRAPH_COST}_without_promise_b{batch}": graphs[f"{SERVED}_b{batch}"]["cost_without_promise"] for batch in (1, 64)},
            **others,
            "top1_kept": kept,
        }


if __name__ == "__main__":
    cyclopts.run(main)
