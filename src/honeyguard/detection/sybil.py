"""Sybils: clients who share the work on one pool of queries."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from honeyguard.detection.evidence import Cusum
from honeyguard.detection.near_duplicates import NearDuplicates
from honeyguard.detection.nearest import Memory, NearestWatch
from honeyguard.detection.streams import Array


@dataclass(frozen=True, kw_only=True)
class Sybil(NearDuplicates):
    """A hint: queries nearer to those of *other* clients than benign clients' are. All watches of one detector share a memory.

    Source: none; the stateful detection of `NearDuplicates` across clients.
    Threat model: clients who interleave queries made from one another (JBDA, SPSG, repeated). Clients who share out images of one
        distribution have nothing in common but the distribution. One process sees its own clients only.
    Args:
        size: of the latest queries of all clients that are remembered.
    """

    size: int = 4096
    _clients: Iterator[int] = field(default_factory=lambda: count(1), init=False, repr=False, compare=False)
    _memories: dict[int, Memory] = field(default_factory=dict, init=False, repr=False, compare=False)

    def watch(self, state: Mapping[str, Array]) -> NearestWatch:
        size = 2 ** (len(state["levels"]) - 1)
        memory = self._memories.setdefault(size, Memory(size, latest=True))
        return NearestWatch(self, state["levels"], memory, Cusum(self.slack), owner=next(self._clients))
