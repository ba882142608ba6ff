"""Defenses: one file each. A new one is one file and one line here."""

from honeyguard.defenses.guarantee import Guarantee
from honeyguard.defenses.honeypot import Honeypot
from honeyguard.defenses.reverse_sigmoid import ReverseSigmoid
from honeyguard.defenses.rounding import Rounding
from honeyguard.types import Defense

__all__ = ["DEFENSES", "Guarantee", "Honeypot", "ReverseSigmoid", "Rounding"]

DEFENSES: dict[str, type[Defense]] = {
    "guarantee": Guarantee,
    "honeypot": Honeypot,
    "reverse_sigmoid": ReverseSigmoid,
    "rounding": Rounding,
}
