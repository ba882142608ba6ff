"""What a user names on the command line, as objects."""

import dataclasses
import tomllib
from pathlib import Path

from honeyguard import artifacts
from honeyguard.benchmark.spec import made
from honeyguard.data import distorted, load, split
from honeyguard.defenses import DEFENSES, Honeypot
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ParameterError
from honeyguard.models import Architecture, load_model
from honeyguard.repro import derive
from honeyguard.types import Defense, Labelled, OwnerData, OwnerKey, Protected
from honeyguard.verification import TriggerTest
from honeyguard.verification.controls import train_innocent

DISTORTIONS = 3


def owner_data(source: str, shadow: str | None, test: str | None, shape: tuple[int, ...] | None, seed: int) -> tuple[OwnerData, Labelled]:
    """What the owner has, and held-out data for the utility figures; what isn't given is a part of the data."""
    labelled = load(source, shape=shape)
    tenth = len(labelled) // 10
    sizes = {"train": 0, "customers": tenth} | ({} if shadow else {"shadow": tenth}) | ({} if test else {"test": 2 * tenth})
    parts = split(labelled, sizes, derive(seed, "split"))
    own = parts.get("shadow")
    shadow_set = (
        distorted(own.images, DISTORTIONS, derive(seed, "shadow set")) if own is not None else load(shadow or "", shape=shape).images
    )
    held_out = load(test, "test", shape=shape) if test else parts["test"]
    return OwnerData(parts["train"], shadow_set, parts["customers"].images), held_out


def chain_of(texts: tuple[str, ...], seed: int, head: str | None) -> list[Defense]:
    """The defenses that the user named, in order; a honeypot is told what will be served behind it."""
    chain = [defense_of(text, seed, head) for text in texts]
    outputs = tuple(defense for defense in chain if isinstance(defense, OutputDefense))
    return [dataclasses.replace(d, outputs=d.outputs or outputs) if isinstance(d, Honeypot) else d for d in chain]


def defense_of(text: str, seed: int, head: str | None) -> Defense:
    name, _, parameters = text.partition(":")
    try:
        entry = tomllib.loads(f"parameters = {{{parameters}}}")["parameters"]
    except tomllib.TOMLDecodeError as error:
        raise ParameterError("name:parameter=value,…", f"{text!r} ({error})", "For example reverse_sigmoid:beta=0.5,gamma=0.2.") from None
    if name == "honeypot":
        entry = {"seed": seed, "head": head} | entry
    defense: Defense = made("defense", DEFENSES, {"name": name} | entry)
    return defense


def open_model(spec: str, shape: tuple[int, ...], classes: int, weights: Path | None = None, network: str | None = None) -> Protected:
    if (Path(spec) / artifacts.MANIFEST).is_file():
        return artifacts.load(Path(spec), Architecture(network).build() if network else None)[0]
    return Protected.of(load_model(spec, shape, classes, weights))


def calibration(key: OwnerKey, owner: OwnerData, chain: list[Defense], count: int, seed: int) -> list[float]:
    """Scores of innocent models, each of the honeypot's reference networks in turn, on 80 % of the owner's data each."""
    networks = next(d.references for d in chain if isinstance(d, Honeypot))
    test, share = TriggerTest(), int(0.8 * len(owner.train))
    return [
        test.score(train_innocent(owner.train, networks[i % len(networks)], share, derive(seed, "innocent", i)), key) for i in range(count)
    ]
