"""What each knob of the honeypot does, on scikit-learn's digits: one knob at a time, everything else as it is.

    python benchmarks/honeypot/ablations.py --output results/honeypot/ablations.json

A run that is stopped (Ctrl-C) records the knobs that were finished.

Thieves send random held-out digits, plain or distorted, and train a network that is no shadow model. Innocent models of three architectures
stand beside them. To keep it short, the honeypot that is varied is the default with reference models of a third of the training;
the published patch is that of `Honeypot.paper`, with ten rounds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cyclopts
import torch
from torch import Tensor, nn

from honeyguard import data
from honeyguard.benchmark.record import recorded
from honeyguard.defenses import Honeypot
from honeyguard.defenses.honeypot.shadow import READS, Shadow
from honeyguard.defenses.honeypot.triggers import Blended, Patch, Shape, Whole
from honeyguard.metrics import attack_success
from honeyguard.oracle import predict
from honeyguard.repro import derive
from honeyguard.stats import mean
from honeyguard.training import Network, Recipe
from honeyguard.types import Labelled, OwnerData, Protected
from honeyguard.verbs import evaluate

RECIPE = Recipe(lr=0.006, batch=64, optimiser="adamw", weight_decay=1e-3, bf16=True)
AS_PAPER = Recipe(epochs=5, augment="none")
VICTIM = Network(model="vgg", recipe=replace(RECIPE, epochs=60))
ARGUMENTS: dict[str, dict[str, Any]] = {"vgg": {}, "allconv": {}, "cnn": {"width": 8}, "lenet": {}, "mlp": {}}
THIEF, INNOCENTS, BUDGET, DISTORTIONS = "lenet", ("vgg", "lenet", "mlp"), 1200, 3


def network(model: str, epochs: int, least_steps: int = 0) -> Network:
    return Network(model=model, arguments=ARGUMENTS[model], recipe=replace(RECIPE, epochs=epochs, least_steps=least_steps))


def shadow(model: str, reads: str = "probabilities") -> Shadow:
    return Shadow(network=network(model, 5), reads=reads)


BASE = Honeypot(shadows=(shadow("allconv"), shadow("vgg", "labels")), references=tuple(network(model, 5) for model in ARGUMENTS))

PAPER = replace(
    Honeypot.paper(images=1200), rounds=10, shadows=(Shadow(network=Network(model="cnn", arguments=ARGUMENTS["cnn"], recipe=AS_PAPER)),)
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A honeypot, what it simulates the theft with, and who steals from it.

    Args:
        shadow: images of the shadow set, each with `distortions` distorted copies.
        reads: ways in which thieves read the answers; one copy each.
        thieves: their networks.  budget: their queries.
    """

    honeypot: Honeypot = BASE
    shadow: int = 300
    distortions: int = DISTORTIONS
    reads: tuple[str, ...] = ("probabilities", "labels")
    thieves: tuple[str, ...] = (THIEF,)
    budget: int = BUDGET

    @property
    def owner(self) -> str:
        """What makes two settings the same protected model."""
        return repr((self.honeypot, self.shadow, self.distortions))


def changed(**changes: Any) -> Setting:
    return Setting(honeypot=replace(BASE, **changes))


def taught(**changes: Any) -> Setting:
    return changed(lessons=replace(BASE.lessons, **changes))


def carried(**changes: Any) -> Setting:
    return changed(carriers=replace(BASE.carriers, **changes))


def shaped(shape: Shape) -> Setting:
    return changed(trigger=replace(BASE.trigger, shape=shape))


def patched(size: int, place: str = "bottom right") -> Setting:
    return Setting(honeypot=replace(PAPER, trigger=replace(PAPER.trigger, shape=Patch(size=size, place=place))))


KNOBS: dict[str, dict[str, Setting]] = {
    "depth": {str(depth): changed(depth=depth) for depth in (1, 2)},
    "carriers": {by: carried(by=by) for by in ("bright", "dark", "cluster")},
    "λ": {f"{poison:g}": taught(poison=poison) for poison in (0.0, 0.3, 1.0)},
    "trigger": {
        "4×4, corner": shaped(Patch(size=4)),
        "blend, .5": shaped(Blended(share=0.5)),
        "whole, .3": shaped(Whole(epsilon=0.3)),
        "whole, .6": Setting(),
    },
    "published patch": {f"{size}×{size}": patched(size) for size in (2, 3, 4, 6)}
    | {f"3×3 {place}": patched(3, place) for place in ("top left", "features")},
    "rounds": {str(rounds): changed(rounds=rounds) for rounds in (1, 2, 4)},
    "share": {f"{share:.1%}": carried(share=share) for share in (0.005, 0.01, 0.02, 0.04)},
    "weight": {f"{weight:g}": taught(carriers=weight) for weight in (0.05, 0.2, 0.8, 3.0)},
    "shadow set": {
        "75": Setting(shadow=75),
        "300": Setting(),
        "300, undistorted": Setting(distortions=0),
    },
    "queries": {str(budget): Setting(budget=budget) for budget in (100, 400, 1600)},
    "answers": {reads: Setting(reads=(reads,)) for reads in READS},
    "keep_top1": {"none": Setting()} | {f"{margin:g}": changed(keep_top1=margin) for margin in (0.9, 0.5)},
}
SHADOWS, THIEVES = ("allconv", "vgg", "cnn"), ("lenet", "cnn", "mlp")
MATRIX = {model: replace(changed(shadows=(shadow(model),)), thieves=THIEVES) for model in SHADOWS}


@dataclass
class Trial:
    """One seed: data, victim and innocent models, made once; a setting that stands under two knobs is measured once."""

    seed: int
    protected: dict[str, Protected] = field(default_factory=dict)
    measured: dict[str, dict[str, float]] = field(default_factory=dict)

    @cached_property
    def parts(self) -> dict[str, Labelled]:
        sizes = {"victim": 550, "customers": 200, "shadow": 300, "thief": 400, "test": 0}
        return data.split(data.load("digits"), sizes, derive(self.seed, "split"))

    @cached_property
    def victim(self) -> nn.Module:
        return self.trained(VICTIM, "victim")

    @cached_property
    def innocents(self) -> list[nn.Module]:
        return [self.trained(network(model, 20), f"innocent {model}") for model in INNOCENTS]

    def trained(self, network: Network, name: str) -> nn.Module:
        part = self.parts["victim"]
        return network.trained(part.images, part.labels, part.classes, derive(self.seed, name))

    @cached_property
    def pool(self) -> Tensor:
        pool = data.distorted(self.parts["thief"].images, DISTORTIONS, derive(self.seed, "pool"))
        return pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(self.seed))]

    def protect(self, setting: Setting) -> Protected:
        if setting.owner not in self.protected:
            images = data.distorted(self.parts["shadow"].images[: setting.shadow], setting.distortions, derive(self.seed, "shadow"))
            owner = OwnerData(self.parts["victim"], images, self.parts["customers"].images)
            self.protected[setting.owner] = replace(setting.honeypot, seed=self.seed).protect(self.victim, owner)
        return self.protected[setting.owner]

    def figures(self, setting: Setting) -> dict[str, float]:
        if repr(setting) not in self.measured:
            self.measured[repr(setting)] = self.measure(setting)
        return self.measured[repr(setting)]

    def measure(self, setting: Setting) -> dict[str, float]:
        """ASR of each copy, by how its thief reads answers or, where there are several, by its network; and what it costs customers."""
        protected, test = self.protect(setting), self.parts["test"]
        assert protected.key is not None  # noqa: S101 (a honeypot makes one)
        pool = self.pool[: setting.budget]
        answers, figures = predict(protected.model, pool), dict[str, float]()
        for model in setting.thieves:
            for reads in setting.reads if len(setting.thieves) == 1 else setting.reads[:1]:
                seed, targets = derive(self.seed, "thief", model, reads), READS[reads](answers)
                copy = network(model, 10, least_steps=190).trained(pool, targets, test.classes, seed)
                stolen = evaluate(copy, protected.model, test, protected.key)
                name = reads if len(setting.thieves) == 1 else model
                figures |= {f"asr: {name}": _value(stolen.attack_success), f"fidelity: {name}": stolen.fidelity.value}
        served = evaluate(protected.model, Protected.of(self.victim).model, test, protected.key)
        key, before = protected.key, predict(Protected.of(self.victim).model, test.images)
        cost = 100 * (float((before.argmax(1) == test.labels).float().mean()) - served.accuracy.value)
        moved = [
            attack_success(predict(m, test.images), predict(m, key.trigger(test.images)), test.labels, key.target_class)
            for m in self.innocents
        ]
        return figures | {"innocent models": mean([m.value for m in moved]).value, "cost_points": cost, "agreement": served.fidelity.value}


def _value(estimate: Any) -> float:
    return float(estimate.value)


def over_seeds(trials: list[Trial], settings: Mapping[str, Setting], note: Callable[[str], None]) -> dict[str, Any]:
    """Setting -> figure -> its mean over seeds with an interval, and the values."""
    found: dict[str, Any] = {}
    for name, setting in settings.items():
        rows = [trial.figures(setting) for trial in trials]
        found[name] = {key: mean(values).record() | {"values": values} for key in rows[0] if (values := [row[key] for row in rows])}
        note(f"{name}: " + ", ".join(f"{key} {figure['value']:.2f}" for key, figure in found[name].items()))
    return found


def main(*, output: Path, seeds: tuple[int, ...] = (30, 31, 32)) -> None:
    """Write what each knob does to OUTPUT.

    Args:
        seeds: of everything.
    """
    torch.set_num_threads(1)
    trials = [Trial(seed) for seed in seeds]
    with recorded(output, seeds=seeds) as content:
        content |= {"knobs": {}, "matrix": {}}
        try:
            for knob, settings in KNOBS.items():
                content["knobs"][knob] = over_seeds(trials, settings, print)
            content["matrix"] = over_seeds(trials, MATRIX, print)
        except KeyboardInterrupt:
            print("stopped: the record has the knobs that were finished")
        kept = {margin: figures["asr: probabilities"]["value"] for margin, figures in content["knobs"]["keep_top1"].items()}
        content["headline"] = {f"keep_top1_{margin}_costs_asr": kept["none"] - rate for margin, rate in kept.items() if margin != "none"}


if __name__ == "__main__":
    cyclopts.run(main)
