"""Suspicious clients: one file a detector. A new one is one file and one line here."""

from honeyguard.detection.near_duplicates import NearDuplicates
from honeyguard.detection.novelty import Novelty
from honeyguard.detection.out_of_distribution import OutOfDistribution
from honeyguard.detection.prada import Prada
from honeyguard.detection.streams import Detector, Queries, Watch
from honeyguard.detection.sybil import Sybil
from honeyguard.detection.synthetic import Synthetic
from honeyguard.detection.uncertainty import Uncertainty

__all__ = ["DETECTORS", "Detector", "Queries", "Watch"]

DETECTORS: dict[str, type[Detector]] = {
    "prada": Prada,
    "out_of_distribution": OutOfDistribution,
    "uncertainty": Uncertainty,
    "novelty": Novelty,
    "near_duplicates": NearDuplicates,
    "synthetic": Synthetic,
    "sybil": Sybil,
}
