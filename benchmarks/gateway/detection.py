"""Time to alarm for every thief of this repository, false alarms of benign clients, and who leaked, by DAWN's marks.

    python benchmarks/gateway/detection.py --output results/gateway/detection.json --data-root ../shared/data

A client-day is 200 queries. Thresholds come from benign clients at no more than one false alarm in 100 client-days over all detectors
together, with 95 % confidence, and are tried on other benign clients' images. Half of the benign clients have classes of their own that
they prefer (Dirichlet(1)); the others draw from the test images as they are. Nobody is watched for longer than the thresholds hold: one day
on digits, of which there are few, two on Fashion-MNIST (14x14). Requests have 8 images. A run that is stopped goes on where it was.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from torch import Tensor, nn

from honeyguard import data
from honeyguard.attacks import QUERIES, Extraction
from honeyguard.attacks.queries.jbda import JBDA, JBDATargeted
from honeyguard.attacks.queries.random import RandomQueries
from honeyguard.benchmark.record import recorded
from honeyguard.benchmark.store import Store
from honeyguard.detection import DETECTORS, Detector, Queries
from honeyguard.detection.dawn import Marked, Marks
from honeyguard.detection.replay import Request, alarms
from honeyguard.detection.thresholds import Thresholds, calibrate, tops
from honeyguard.metrics import accuracy
from honeyguard.oracle import Local, predict
from honeyguard.repro import derive
from honeyguard.stats import mean, share
from honeyguard.traffic import observed
from honeyguard.training import Network, Recipe
from honeyguard.types import Labelled, Oracle, Protected, QueryStrategy
from honeyguard.verification.attribution import MarkedSet, MarkTest

DAY, REQUEST, RATE = 200, 8, 0.01
SMALL = (1, 14, 14)
RECIPE = Recipe(epochs=8, lr=0.006, batch=128, optimiser="adamw", weight_decay=1e-3)
COPYING = Recipe(epochs=8, least_steps=150, lr=0.006, batch=64, optimiser="adamw", weight_decay=1e-3, augment="none")
VICTIM = Network(model="lenet", recipe=RECIPE)
SUBSTITUTE = Network(model="mlp", arguments={"width": 64}, recipe=COPYING)
FEW = {"jbda": JBDA(seeds=50), "jbda_targeted": JBDATargeted(seeds=50)}
THIEVES: dict[str, tuple[str, QueryStrategy]] = {
    **{name: ("held_out", FEW.get(name, strategy())) for name, strategy in QUERIES.items()},
    "random_distorted": ("distorted", RandomQueries()),
    "random_other_things": ("other_things", RandomQueries()),
}
SYBILS, SHARED = 4, ("random", "jbda", "spsg", "repeated")
CLIENTS, MOST = 7, 2400


@dataclass(frozen=True, kw_only=True)
class Task:
    """A victim, benign images to fit, to calibrate and to try the detectors, and a thief's pools.

    Args:
        days: for which clients are watched.
        calibrations, trials: benign clients to calibrate with, and to try the thresholds on.
    """

    name: str
    victim: Network
    days: int
    calibrations: int
    trials: int
    detectors: tuple[str, ...]

    def load(self, root: Path, seed: int) -> dict[str, Labelled]:
        if self.name == "digits":
            digits = data.load("digits")
            parts = data.split(digits, {"victim": 400, "fit": 200, "calibrate": 400, "benign": 400, "held_out": 0}, derive(seed, "split"))
            return parts | {"other_things": data.load(str(root / "fashion_mnist"), "test", shape=digits.shape, limit=400)}
        train = fashion(root, "train", 30_000)[:10_000]
        parts = data.split(train, {"victim": 8000, "held_out": 0}, derive(seed, "split"))
        test = fashion(root, "test", 10_000)
        parts |= data.split(test, {"fit": 2000, "calibrate": 4000, "benign": 0}, derive(seed, "split"))
        return parts | {"other_things": data.load(str(root / "emnist_letters"), "train", shape=SMALL, limit=2000)}


TASKS = (
    Task(
        name="digits",
        victim=Network(model="vgg", recipe=Recipe(epochs=30, lr=0.006, batch=64, optimiser="adamw", weight_decay=1e-3)),
        days=1,
        calibrations=640,
        trials=300,
        detectors=tuple(name for name in DETECTORS if name != "sybil"),  # there are too few digits for clients side by side
    ),
    Task(
        name="fashion_mnist",
        victim=VICTIM,
        days=2,
        calibrations=330,
        trials=120,
        detectors=tuple(DETECTORS),
    ),
)


@cache
def fashion(root: Path, split: str, limit: int) -> Labelled:
    return data.load(str(root / "fashion_mnist"), split, shape=SMALL, limit=limit)


def clients(pool: Queries, labels: Tensor, days: int, count: int, random: np.random.Generator) -> Iterator[list[Queries]]:
    """Rounds of benign clients, no two of whom send the same image; half of them prefer some classes."""
    length, classes = days * DAY, labels.numpy()
    for _ in range(-(-count // (len(pool) // length))):
        free, streams = random.permutation(len(pool)), list[Queries]()
        for _ in range(len(pool) // length):
            weight = random.dirichlet(np.ones(10))[classes[free]] + 1e-6 if random.random() < 0.5 else np.ones(len(free))
            rows = random.choice(len(free), length, replace=False, p=weight / weight.sum())
            streams.append(pool[free[rows]])
            free = np.delete(free, rows)
        yield streams


class Listening:
    """An oracle that keeps what it is asked."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle, self.heard = oracle, list[Tensor]()

    def __call__(self, images: Tensor) -> Tensor:
        self.heard.append(images.clone())
        return self.oracle(images)


def stolen(victim: Protected, pool: Tensor, query: QueryStrategy, budget: int, seed: int) -> Queries:
    """What the server sees of a theft."""
    listening = Listening(Local(victim))
    substitute = SUBSTITUTE.fresh(tuple(pool.shape[1:]), 10, derive(seed, "substitute"))
    Extraction(budget=budget, query=query, recipe=COPYING, seed=derive(seed, "theft")).extract(listening, pool, substitute)
    return observed(victim, torch.cat(listening.heard))


def watch(task: Task, root: Path, seed: int) -> dict[str, Any]:
    """Thresholds, false alarms on other clients, and every thief's time to alarm."""
    parts, random = task.load(root, seed), np.random.default_rng(derive(seed, "clients"))
    network = task.victim.trained(parts["victim"].images, parts["victim"].labels, 10, derive(seed, "victim"))
    victim = Protected.of(network)
    fit = observed(victim, parts["fit"].images)
    fitted: dict[str, Detector] = {name: DETECTORS[name]().fit(fit) for name in task.detectors}

    def benign(part: str, count: int) -> Iterator[list[Queries]]:
        return clients(observed(victim, parts[part].images), parts[part].labels, task.days, count, random)

    found = calibrate(fitted, list(benign("calibrate", task.calibrations)), RATE, client_day=DAY)
    limits = np.array(list(found.values.values()))
    raised = torch.tensor(np.array([top > limits for streams in benign("benign", task.trials) for top in np.array(tops(fitted, streams))]))
    budget = task.days * DAY
    pools = {name: parts[name].images for name in ("held_out", "other_things")}
    pools["distorted"] = data.distorted(parts["held_out"].images, 3, derive(seed, "distorted"))[len(parts["held_out"]) :]
    streams = {name: stolen(victim, pools[pool], query, min(budget, len(pools[pool])), seed) for name, (pool, query) in THIEVES.items()}
    return {
        "victim_accuracy": accuracy(predict(network, parts["benign"].images), parts["benign"].labels).value,
        "thresholds": dict(found.values),
        "bound": found.bound,
        "false_alarms": {"any": share(raised.any(1)).record()}
        | {name: share(raised[:, i]).record() for i, name in enumerate(task.detectors)},
        "thieves": {name: {"queries": len(stream), "alarms": alone(found, stream)} for name, stream in streams.items()},
        "sybils": {name: together(found, streams[name]) for name in SHARED if "sybil" in task.detectors},
    }


def alone(found: Thresholds, stream: Queries) -> dict[str, int]:
    """Queries until each detector raises an alarm."""
    return alarms(found.detectors, found.values, (Request("thief", part) for part in stream.split(REQUEST)))["thief"]


def together(found: Thresholds, stream: Queries) -> dict[str, int]:
    """Several clients share a theft: queries of the first to be noticed by each detector."""
    parts = (Request(str(i % SYBILS), part) for i, part in enumerate(stream.split(REQUEST)))
    raised = alarms(found.detectors, found.values, parts).values()
    names = {name for client in raised for name in client}
    return {name: min(client[name] for client in raised if name in client) for name in sorted(names)}


# ---------------------------------------------------------------------------------------------------------- attribution


def leak(root: Path, seed: int, budget: int) -> dict[str, Any]:
    """Several clients ask about images of their own; each in turn steals, and models that didn't are on trial too."""
    train = fashion(root, "train", 30_000)
    parts = data.split(train, {"victim": 5000, "clients": CLIENTS * MOST, "others": 0}, derive(seed, "split"))
    test = fashion(root, "test", 10_000)
    victim = Protected.of(VICTIM.trained(parts["victim"].images, parts["victim"].labels, 10, derive(seed, "victim")))
    marks, marked, paid = (
        Marks(key=hashlib.sha256(f"owner {seed}".encode()).digest()),
        dict[str, MarkedSet](),
        dict[str, tuple[Tensor, Tensor]](),
    )
    for i, images in enumerate(parts["clients"].images.split(MOST)):
        asked, answers = images[:budget], predict(victim.model, images[:budget]).numpy()
        told, rows = marks.mark(f"client {i}", asked.numpy(), answers)
        known = Marked.of(asked.numpy(), told, answers, rows)
        marked[f"client {i}"] = MarkedSet(*map(torch.as_tensor, (known.images, known.told, known.hidden)))
        paid[f"client {i}"] = asked, torch.as_tensor(told)

    def innocent(name: str, i: int) -> nn.Module:
        rows = torch.randperm(len(parts["others"]), generator=torch.Generator().manual_seed(derive(seed, name, i)))[:budget]
        return copy(parts["others"].images[rows], parts["others"].labels[rows], derive(seed, name, i), i)

    controls = [Local(victim), *(Local(Protected.of(innocent("control", i))) for i in range(6))]
    test_of_marks = MarkTest(draws=50_000)

    def judged(suspect: nn.Module, thief: str | None) -> dict[str, Any]:
        found = test_of_marks.attribute(Local(Protected.of(suspect)), marked, controls)
        return {
            "thief": thief,
            "named": list(found.named),
            "p_value": found.p_values[thief] if thief else min(found.p_values.values()),
            "marks": found.marks[thief] if thief else 0,
            "accuracy": accuracy(predict(suspect, test.images), test.labels).value,
        }

    thefts = [judged(copy(*transfer, derive(seed, client), i), client) for i, (client, transfer) in enumerate(paid.items())]
    return {"suspects": thefts + [judged(innocent("innocent", i), None) for i in range(2)]}


def copy(images: Tensor, targets: Tensor, seed: int, i: int) -> nn.Module:
    """A thief's or an innocent's model: 30 epochs; every other one augments its images, every fourth reads labels alone."""
    recipe = Recipe(epochs=30, lr=0.006, batch=64, optimiser="adamw", augment="shift" if i % 2 else "none")
    if i % 4 == 2 and targets.ndim == 2:
        targets = targets.argmax(1)
    return Network(model="lenet", recipe=recipe).trained(images, targets, 10, seed)


# -------------------------------------------------------------------------------------------------------------- summary


def summed(runs: Sequence[dict[str, Any]], days: int) -> dict[str, Any]:
    """Over seeds: false alarms a day, and of each thief the queries to its first alarm."""
    false = {
        name: {key: mean([100 * run["false_alarms"][name][key] / days for run in runs]).value for key in ("value", "low", "high")}
        for name in runs[0]["false_alarms"]
    }
    first = {name: [min(run["thieves"][name]["alarms"].values(), default=None) for run in runs] for name in THIEVES}
    return {
        "false_alarms_per_100_client_days": false,
        "thieves": {
            name: {
                "queries_to_alarm": found,
                "seen": share(torch.tensor([f is not None for f in found])).record(),
                "median": _median(found),
                "detectors": sorted({d for run in runs for d in run["thieves"][name]["alarms"]}),
            }
            for name, found in first.items()
        },
    }


def _median(found: Sequence[int | None]) -> float | None:
    """None where the middle one was never seen."""
    middle = float(np.median([np.inf if f is None else f for f in found]))
    return middle if middle < np.inf else None


def leaks(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    suspects = [suspect for run in runs for suspect in run["suspects"]]
    thefts = [s for s in suspects if s["thief"]]
    return {
        "thefts": len(thefts),
        "right": share(torch.tensor([s["named"] == [s["thief"]] for s in thefts])).record(),
        "innocents_named": sum(len(set(s["named"]) - {s["thief"]}) for s in suspects),
        "innocent_models": len(suspects) - len(thefts),
        "marks": mean([s["marks"] for s in thefts]).record(),
        "accuracy_of_copies": mean([s["accuracy"] for s in thefts]).record(),
    }


def main(
    *,
    output: Path,
    data_root: Path = Path("data"),
    seeds: int = 3,
    budgets: tuple[int, ...] = (2400,),
    cells: Path = Path("runs/cells"),
) -> None:
    """Write alarms and attributions to OUTPUT.

    Args:
        data_root: folder of fashion_mnist and emnist_letters.
        seeds: victims, clients and thieves of each task.
        budgets: queries of a client whose answers are marked; the first gives the headline.
        cells: folder of finished steps.
    """
    torch.set_num_threads(1)
    store, own = Store(cells, lambda kind, label: print(kind, label, flush=True)), hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    with recorded(
        output, seeds=range(seeds), client_day=DAY, rate=RATE, budgets=budgets, clients=CLIENTS, data_root=data_root.name
    ) as content:
        runs: dict[str, list[dict[str, Any]]] = {}
        for task in TASKS:
            runs[task.name] = [
                store.cell(
                    "watch",
                    f"{task.name} {seed}",
                    {"task": asdict(task), "seed": seed, "own": own},
                    (),
                    lambda t=task, s=seed: (watch(t, data_root, s), {}),
                ).results
                for seed in range(seeds)
            ]
        traced = {
            budget: [
                store.cell(
                    "leak",
                    f"{budget} {seed}",
                    {"budget": budget, "seed": seed, "own": own},
                    (),
                    lambda b=budget, s=seed: (leak(data_root, s, b), {}),
                ).results
                for seed in range(seeds)
            ]
            for budget in budgets
        }
        alarm = {task.name: summed(runs[task.name], task.days) for task in TASKS}
        found = {budget: leaks(results) for budget, results in traced.items()}
        fashion, best = alarm["fashion_mnist"], found[budgets[0]]
        content["headline"] = {
            "false_alarms_per_100_client_days": max(a["false_alarms_per_100_client_days"]["any"]["value"] for a in alarm.values()),
            "attribution_right_share": best["right"]["value"],
            "attribution_thefts": best["thefts"],
            "attribution_queries_a_client": budgets[0],
            "innocents_named": sum(f["innocents_named"] for f in found.values()),
            **{f"median_queries_to_alarm_{n}": t["median"] for n, t in fashion["thieves"].items() if t["median"] is not None},
            **{f"share_never_noticed_{n}": 1 - t["seen"]["value"] for n, t in fashion["thieves"].items()},
            **{
                f"digits_median_queries_to_alarm_{n}": t["median"] for n, t in alarm["digits"]["thieves"].items() if t["median"] is not None
            },
        }
        content |= {"alarms": alarm, "attribution": found, "runs": runs, "leaks": traced}


if __name__ == "__main__":
    cyclopts.run(main)
