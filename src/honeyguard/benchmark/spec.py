"""A suite: what is protected, by what, who steals it and who stands trial. Read from TOML, strict about every key."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from honeyguard import types
from honeyguard.attacks import ANSWERS, LAUNDERINGS, QUERIES, TRAININGS
from honeyguard.defenses import DEFENSES
from honeyguard.defenses.honeypot.triggers import SHAPES, Shape
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import DataError, ParameterError, UnknownNameError
from honeyguard.tables import construct, read_toml
from honeyguard.tables import made as made_of
from honeyguard.training import Network

SERVED = "served"

PARTS: tuple[tuple[Any, tuple[str, Mapping[str, Any]]], ...] = (
    (OutputDefense, ("defense", DEFENSES)),
    (types.OutputDefense, ("defense", DEFENSES)),
    (types.QueryStrategy, ("query strategy", QUERIES)),
    (types.AnswerStrategy, ("answer strategy", ANSWERS)),
    (types.TrainingStrategy, ("training strategy", TRAININGS)),
    (Shape, ("shape of a trigger", SHAPES)),
)
"""Fields of these kinds are written in a suite as a name or as `{ name = …, **parameters }`."""


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
        few: of the thief's images, those that the pool `few` has.
        own: of the thief's images, those it has labels of and launders its copies with.
        foreign: the owner's unlabelled images of other things, for the simulated theft.
        distortions: distorted copies of each image in the shadow set and in the held-out pool (`honeyguard.data.distorted`).
    """

    images: Source
    victim: int
    shadow: int
    thief: int
    customers: int = 0
    few: int = 0
    own: int = 0
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
        pool: `held_out` (the held-out images and their distorted copies), `clean` (without the copies), `few` (some of these), or one of
            the suite's `pools`.
        answer: how it reads answers; one whose `defense` is "served", or one of its `defenses`, knows the last defense of whatever chain it
            attacks.
        against: names of the defenses that it attacks; none for all.
        colluding: names of defenses that serve other clients, whose answers to the same images are averaged with its own.
        twins: thieves with the same word here start from the same substitute and seed, so that they differ in their strategy alone.
    """

    name: str
    network: Network
    budget: int
    pool: str = "held_out"
    query: dict[str, Any] = field(default_factory=lambda: {"name": "random"})
    answer: dict[str, Any] = field(default_factory=lambda: {"name": "as_given"})
    training: dict[str, Any] = field(default_factory=lambda: {"name": "supervised"})
    against: tuple[str, ...] = ()
    colluding: tuple[str, ...] = ()
    twins: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Thieves that differ in their parts alone: every combination of pools, budgets, queries, answers and trainings.

    Args:
        network: of the substitutes; None takes the suite's `copies`.
    """

    budgets: tuple[int, ...]
    network: Network | None = None
    pools: tuple[str, ...] = ("held_out",)
    queries: tuple[dict[str, Any], ...] = ({"name": "random"},)
    answers: tuple[dict[str, Any], ...] = ({"name": "as_given"},)
    trainings: tuple[dict[str, Any], ...] = ({"name": "supervised"},)
    against: tuple[str, ...] = ()

    def thieves(self, copies: Network) -> Iterator[Thief]:
        for pool, budget, query, answer, training in product(self.pools, self.budgets, self.queries, self.answers, self.trainings):
            parts = " / ".join(described(part) for part in (query, answer, training))
            yield Thief(
                name=f"{parts} / {budget} of {pool}",
                network=self.network or copies,
                budget=budget,
                pool=pool,
                query=query,
                answer=answer,
                training=training,
                against=self.against,
                twins=f"{budget} of {pool}",
            )


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A whole experiment; every seed is one story from victim to verdict.

    Args:
        innocents: models that did not steal; without them there are no verdicts.
        thieves: attacks one by one.  grids: attacks by the dozen.
        copies: the substitutes of all grids that name no network of their own.
        launderings: what is done afterwards to each copy of a honeypot: name -> laundering.
        pools: of the thieves, besides the held-out images.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    data: Data
    victim: Network
    defenses: dict[str, tuple[dict[str, Any], ...]]
    innocents: Innocents = field(default_factory=lambda: Innocents(networks=(), calibration=0, trial=0))
    thieves: tuple[Thief, ...] = ()
    grids: tuple[Grid, ...] = ()
    copies: Network = field(default_factory=Network)
    launderings: dict[str, dict[str, Any]] = field(default_factory=dict)
    pools: dict[str, Source] = field(default_factory=dict)

    @property
    def attacks(self) -> list[Thief]:
        """The thieves, one by one and from the grids; one that stands in two grids attacks what either says, once."""
        found: dict[str, Thief] = {}
        for thief in (*self.thieves, *(thief for grid in self.grids for thief in grid.thieves(self.copies))):
            known = found.setdefault(thief.name, thief)
            both = tuple(dict.fromkeys((*known.against, *thief.against))) if known.against and thief.against else ()
            found[thief.name] = dataclasses.replace(known, against=both)
            if dataclasses.replace(thief, against=both) != found[thief.name]:
                raise ParameterError("a name of its own for each thief", f"{thief.name!r} twice", "Rename one.")
        return list(found.values())

    def informed(self, thief: Thief, defense: str) -> Thief:
        """The thief as it attacks that defense, which it may know. Raises: ParameterError: there is none to know."""
        answer = thief.answer
        if SERVED not in (answer.get("defense"), *answer.get("defenses", ())):
            return thief
        if not (chain := self.defenses[defense]):
            raise ParameterError(
                "a defense for the thief to know", f"{defense!r}, which is none", f"Leave it out of {thief.name!r}.against."
            )
        if "defense" in answer:
            return dataclasses.replace(thief, answer=answer | {"defense": chain[-1]})
        named = [chain[-1] if one == SERVED else one for one in answer["defenses"]]
        return dataclasses.replace(thief, answer=answer | {"defenses": named})

    def __post_init__(self) -> None:
        for chain in self.defenses.values():
            for entry in chain:
                made("defense", DEFENSES, entry)
        for entry in self.launderings.values():
            made("laundering", LAUNDERINGS, entry)
        own = {"clean": self.data.thief, "held_out": self.data.thief * (1 + self.data.distortions)}
        own |= {"few": self.data.few} if self.data.few else {}
        limits = own | {name: source.limit for name, source in self.pools.items()}
        for thief in self.attacks:
            made("query strategy", QUERIES, thief.query)
            made("training strategy", TRAININGS, thief.training)
            if thief.pool not in limits:
                raise UnknownNameError("pool", thief.pool, limits)
            for name in (*thief.against, *thief.colluding):
                if name not in self.defenses:
                    raise UnknownNameError("defense of the suite", name, self.defenses)
            for name in thief.against or self.defenses:
                made("answer strategy", ANSWERS, self.informed(thief, name).answer)
            limit = limits[thief.pool]
            if limit is not None and thief.budget > limit and not getattr(QUERIES[thief.query["name"]], "synthesises", False):
                raise DataError(f"a pool of at least {thief.budget} images", f"{limit} in {thief.pool!r}", "Lower the budget.")
        if self.launderings and not 0 < self.data.own <= self.data.thief:
            got = f"data.own = {self.data.own} of {self.data.thief}"
            raise ParameterError("labelled images of the thief's for its launderings", got, "Set data.own.")
        if self.innocents.calibration + self.innocents.trial > 0 and not self.innocents.networks:
            raise ParameterError("networks of the innocent models", "none", "List them, or set calibration and trial to 0.")
        if not self.seeds:
            raise ParameterError("at least one seed", "none", "List the seeds.")


def described(entry: Any) -> str:
    """`name` or `name(parameter=value, …)` of a part of a suite."""
    if not isinstance(entry, Mapping):
        return str(entry)
    parameters = ", ".join(f"{key}={described(value)}" for key, value in entry.items() if key != "name")
    return f"{entry['name']}({parameters})" if parameters else str(entry["name"])


def made(kind: str, registry: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """The object that `{name = …, **parameters}` describes. Raises: UnknownNameError, ParameterError."""
    return made_of(kind, registry, entry, PARTS)


def read(path: Path) -> Suite:
    """Read a suite. Raises: DataError: no TOML there. UnknownNameError: an unknown key, with the nearest right one."""
    return construct(Suite, read_toml(path, "a suite", "Start from one in benchmarks/."), "suite", PARTS)
