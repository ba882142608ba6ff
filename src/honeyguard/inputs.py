"""What a user names on the command line, as objects."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from honeyguard import artifacts, folders, tables
from honeyguard.attacks import ANSWERS, QUERIES
from honeyguard.audit import THIEVES, Thief
from honeyguard.benchmark.spec import PARTS
from honeyguard.client import Remote
from honeyguard.data import distorted, load, split
from honeyguard.defenses import DEFENSES, Honeypot
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ParameterError
from honeyguard.models import Architecture, load_model
from honeyguard.onnx_oracle import OnnxModel
from honeyguard.oracle import Local
from honeyguard.repro import derive
from honeyguard.types import Defense, Labelled, Oracle, OwnerData, OwnerKey, Protected
from honeyguard.verification import TriggerTest
from honeyguard.verification.controls import train_innocent

DISTORTIONS = 3


def _whole(_: Any, tokens: Sequence[Any]) -> tuple[int, ...]:
    texts = [text for token in tokens for text in token.value.split(",")]
    if not all(text.isdecimal() for text in texts):
        raise ParameterError("whole numbers, one or several, like 500,2000,8000", ",".join(texts), "Leave out spaces and units.")
    return tuple(map(int, texts))


Numbers = Annotated[tuple[int, ...], Parameter(converter=_whole)]
"""Whole numbers: 1,2,3, or the option repeated."""


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
    own = {"seed": seed, "head": head} if text.partition(":")[0] == "honeypot" else {}
    defense: Defense = part_of("defense", DEFENSES, text, own)
    return defense


def part_of(kind: str, registry: Mapping[str, Any], text: str, defaults: Mapping[str, Any] | None = None) -> Any:
    """What `name` or `name:parameter=value,…` names. Raises: ParameterError, UnknownNameError."""
    return tables.part_of(kind, registry, text, defaults, PARTS)


def thieves_of(queries: tuple[str, ...], answers: tuple[str, ...]) -> tuple[Thief, ...]:
    """Each of the query strategies with each of the answer strategies; an audit's own choice where none is named."""
    if not queries and not answers:
        return THIEVES
    return tuple(
        Thief(query=part_of("query strategy", QUERIES, query), answer=part_of("answer strategy", ANSWERS, answer))
        for query in queries or ("random",)
        for answer in answers or ("as_given",)
    )


Opened = tuple[Oracle, tuple[int, ...] | None, tuple[str, ...] | None]


@contextmanager
def open_oracle(spec: str, *, network: str | None = None, key: str | None = None, key_header: str = "Authorization") -> Iterator[Opened]:
    """An oracle, the (C, H, W) that it takes and the names of its classes; None for what it doesn't say.

    Args:
        spec: a folder that Honeyguard wrote, an .onnx file, or the URL of a model: http(s)://host/v2/models/name.
        network: package.module:function of a folder's network, where it is the owner's own class.
        key, key_header: for a URL, as `Remote` takes them.
    """
    if spec.startswith(("http://", "https://")):
        root, path, model = spec.rstrip("/").partition("/v2/models/")
        if not path or not model:
            raise ParameterError("the URL of a model, http(s)://host/v2/models/name", "another", "Add the model's name.")
        with Remote(root, model, api_key=key, key_header=key_header) as remote:
            yield remote, remote.signature.shape, _numbers(remote.signature.classes)
    elif spec.endswith(".onnx"):
        file = OnnxModel(Path(spec))
        yield file, file.shape, _numbers(file.classes)
    else:
        protected, manifest = artifacts.load(Path(spec), Architecture(network).build() if network else None)
        shape = tuple(manifest["input"]["shape"])
        yield Local(protected, shape), shape, tuple(manifest["classes"])


def api_key(file: Path | None) -> str | None:
    """The key in a file, or else in the environment variable HONEYGUARD_API_KEY. Raises: ParameterError: a file that can't be read."""
    if file is None:
        return os.environ.get("HONEYGUARD_API_KEY")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError("a file with an API key", f"{file} ({type(error).__name__})", "Check the path.") from None


def _numbers(classes: int | None) -> tuple[str, ...] | None:
    return tuple(map(str, range(classes))) if classes else None


def open_model(spec: str, shape: tuple[int, ...], classes: int, weights: Path | None = None, network: str | None = None) -> Protected:
    if (Path(spec) / folders.MANIFEST).is_file():
        return artifacts.load(Path(spec), Architecture(network).build() if network else None)[0]
    return Protected.of(load_model(spec, shape, classes, weights))


def calibration(key: OwnerKey, owner: OwnerData, chain: list[Defense], count: int, seed: int) -> list[float]:
    """Scores of innocent models, each of the honeypot's reference networks in turn, on 80 % of the owner's data each."""
    networks = next(d.references for d in chain if isinstance(d, Honeypot))
    test, share = TriggerTest(), int(0.8 * len(owner.train))
    return [
        test.score(train_innocent(owner.train, networks[i % len(networks)], share, derive(seed, "innocent", i)), key) for i in range(count)
    ]
