"""A suite: what is protected, by what, who steals it and who stands trial. Read from TOML, strict about every key."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from honeyguard.attacks import ANSWERS, QUERIES
from honeyguard.defenses import DEFENSES
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import DataError, ParameterError, UnknownNameError
from honeyguard.training import Network

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where images come from, as `honeyguard.data.load` takes it; relative sources lie in the suite's data root.

    Args:
        skip: rows left out at the start, so that two sources share none.  limit: rows after these.
    """

    source: str
    split: str = "train"
    shape: tuple[int, ...] | None = None
    skip: int = 0
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """The labelled data and its disjoint parts; `test` comes from its own source or else from the rest of the data.

    Args:
        images: where the labelled images come from.
        victim: size of the owner's training data.  shadow: of the shadow set.  thief: of the held-out pool.
        customers: size of the unlabelled part on which the owner holds the victim's answers; 0 for none.
        foreign: unlabelled images of other things that join the shadow set.
        distortions: distorted copies of each image in the shadow set and in the held-out pool (`honeyguard.data.distorted`).
    """

    images: Source
    victim: int
    shadow: int
    thief: int
    customers: int = 0
    foreign: Source | None = None
    distortions: int = 0
    test: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Innocents:
    """Models that never saw the API: each of the next network in turn, on its own random share of the labelled images."""

    networks: tuple[Network, ...]
    calibration: int = 10
    trial: int = 5
    images: int = 0  # 0: as many as the victim had


@dataclass(frozen=True, kw_only=True)
class Thief:
    """One attack: budget, parts, substitute.

    Args:
        pool: `held_out` (the held-out images and their distorted copies), `clean` (without the copies), or one of the suite's `pools`.
    """

    name: str
    network: Network
    budget: int
    pool: str = "held_out"
    query: dict[str, Any] = field(default_factory=lambda: {"name": "random"})
    answer: dict[str, Any] = field(default_factory=lambda: {"name": "as_given"})


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A whole experiment; every seed is one story from victim to verdict."""

    name: str
    title: str
    seeds: tuple[int, ...]
    data: Data
    victim: Network
    innocents: Innocents
    thieves: tuple[Thief, ...]
    defenses: dict[str, tuple[dict[str, Any], ...]]
    pools: dict[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for chain in self.defenses.values():
            for entry in chain:
                made("defense", DEFENSES, entry)
        for thief in self.thieves:
            made("query strategy", QUERIES, thief.query)
            made("answer strategy", ANSWERS, thief.answer)
            own = {"clean": self.data.thief, "held_out": self.data.thief * (1 + self.data.distortions)}
            limits = own | {name: source.limit for name, source in self.pools.items()}
            if thief.pool not in limits:
                raise UnknownNameError("pool", thief.pool, limits)
            limit = limits[thief.pool]
            if limit is not None and thief.budget > limit:
                raise DataError(f"a pool of at least {thief.budget} images", f"{limit} in {thief.pool!r}", "Lower the budget.")
        if not self.seeds:
            raise ParameterError("at least one seed", "none", "List the seeds.")


def made(kind: str, registry: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """The object that `{name = …, **parameters}` describes. Raises: UnknownNameError, ParameterError."""
    parameters = dict(entry)
    name = parameters.pop("name", "")
    if name not in registry:
        raise UnknownNameError(kind, name, registry)
    return construct(registry[name], parameters, f"{kind} {name}")


def read(path: Path) -> Suite:
    """Read a suite. Raises: DataError: no TOML there. UnknownNameError: an unknown key, with the nearest right one."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError("a suite in TOML", f"{path} ({error})", "Start from one in benchmarks/.") from None
    return construct(Suite, content, "suite")


def construct(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table, field by field and nested."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    for name in table:
        if name not in fields:
            raise UnknownNameError(f"key of {where}", name, fields)
    required = (dataclasses.MISSING, dataclasses.MISSING)
    missing = [n for n, f in fields.items() if n not in table and (f.default, f.default_factory) == required]
    if missing:
        raise ParameterError(f"the keys {', '.join(missing)} in {where}", "none", "Add them.")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _value(next(a for a in arguments if a is not type(None)), value, where)
    if hint is OutputDefense:
        return made("defense", DEFENSES, value)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ParameterError(f"a table at {where}", repr(value), "Write it as { key = value }.")
        return construct(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ParameterError(f"a list at {where}", repr(value), "Write it as [ … ].")
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in dict(value).items()}
    if hint is float and isinstance(value, int):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise ParameterError(f"{hint.__name__} at {where}", repr(value), "Mend the value.")
    return value
