"""Near duplicates: queries made from the client's own earlier queries."""

from dataclasses import dataclass

from honeyguard.detection.nearest import Nearest
from honeyguard.detection.streams import Array, Queries, thumbnails


@dataclass(frozen=True, kw_only=True)
class NearDuplicates(Nearest):
    """Distance of a query's thumbnail to the nearest earlier one of the client, smaller than benign clients of the same age have it.

    Source: similarity of successive queries (Chen, Carlini, Wagner: Stateful Detection of Black-Box Adversarial Attacks, SPAI 2020), there
        by a learnt encoder and the k nearest.
    Threat model: JBDA, SPSG, erased, repeated and augmented images. A customer who sends an image twice looks the same, which the
        calibration on the owner's own traffic has to allow for.
    Args: see `Nearest`.
    """

    slack: float = 0.5

    def rows(self, queries: Queries) -> Array:
        return thumbnails(queries.images)

    def strange(self, distances: Array) -> Array:
        return -distances
