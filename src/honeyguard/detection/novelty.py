"""Novelty: streams that go on to cover the space where a benign client would come back to where it was."""

from dataclasses import dataclass
from typing import ClassVar

from honeyguard.detection.nearest import Nearest
from honeyguard.detection.streams import Array, Queries


@dataclass(frozen=True, kw_only=True)
class Novelty(Nearest):
    """Distance of a query's features to the nearest earlier query of the client: a stream that covers more than benign ones do.

    Source: the coverage that extraction monitors measure (Kesarwani, Mukhoty, Arya, Mehta: Model Extraction Warning in MLaaS Paradigm,
        ACSAC 2018), as novelty against the client's own past. Each distance is compared with that of benign clients of the same age.
    Threat model: k-center and whoever else spreads its queries. Who draws from the benign distribution is as novel as a customer.
    Args: see `Nearest`.
    """

    reads_features: ClassVar[bool] = True

    def rows(self, queries: Queries) -> Array:
        return queries.features

    def strange(self, distances: Array) -> Array:
        return distances
