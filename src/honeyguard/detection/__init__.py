"""Suspicious clients: one file a detector. A new one is one file and one line here."""

from honeyguard.detection.prada import Prada
from honeyguard.detection.streams import Detector, Queries, Watch

__all__ = ["DETECTORS", "Detector", "Queries", "Watch"]

DETECTORS: dict[str, type[Detector]] = {
    "prada": Prada,
}
