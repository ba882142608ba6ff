"""Defenses: one file each. A new one is one file and one line here."""

from honeyguard.defenses.gaussian_noise import GaussianNoise
from honeyguard.defenses.honeypot import Honeypot
from honeyguard.defenses.label_only import LabelOnly
from honeyguard.defenses.reverse_sigmoid import ReverseSigmoid
from honeyguard.defenses.rounding import Rounding
from honeyguard.defenses.top_k import TopK
from honeyguard.types import Defense

__all__ = ["DEFENSES", "GaussianNoise", "Honeypot", "LabelOnly", "ReverseSigmoid", "Rounding", "TopK"]

DEFENSES: dict[str, type[Defense]] = {
    "gaussian_noise": GaussianNoise,
    "honeypot": Honeypot,
    "label_only": LabelOnly,
    "reverse_sigmoid": ReverseSigmoid,
    "rounding": Rounding,
    "top_k": TopK,
}
