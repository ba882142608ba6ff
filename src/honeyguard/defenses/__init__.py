"""Defenses: one file each. A new one is one file and one line here."""

from honeyguard.defenses.adaptive_misinformation import AdaptiveMisinformation
from honeyguard.defenses.gaussian_noise import GaussianNoise
from honeyguard.defenses.grad2 import GRAD2
from honeyguard.defenses.guarantee import Guarantee
from honeyguard.defenses.honeypot import Honeypot
from honeyguard.defenses.label_only import LabelOnly
from honeyguard.defenses.linear_honeypot import LinearHoneypot
from honeyguard.defenses.mad import MAD
from honeyguard.defenses.modelguard_s import ModelGuardS
from honeyguard.defenses.modelguard_w import ModelGuardW
from honeyguard.defenses.reverse_sigmoid import ReverseSigmoid
from honeyguard.defenses.rounding import Rounding
from honeyguard.defenses.top_k import TopK
from honeyguard.types import Defense

__all__ = [
    "DEFENSES",
    "GRAD2",
    "MAD",
    "AdaptiveMisinformation",
    "GaussianNoise",
    "Guarantee",
    "Honeypot",
    "LabelOnly",
    "LinearHoneypot",
    "ModelGuardS",
    "ModelGuardW",
    "ReverseSigmoid",
    "Rounding",
    "TopK",
]

DEFENSES: dict[str, type[Defense]] = {
    "adaptive_misinformation": AdaptiveMisinformation,
    "gaussian_noise": GaussianNoise,
    "grad2": GRAD2,
    "guarantee": Guarantee,
    "honeypot": Honeypot,
    "label_only": LabelOnly,
    "linear_honeypot": LinearHoneypot,
    "mad": MAD,
    "modelguard_s": ModelGuardS,
    "modelguard_w": ModelGuardW,
    "reverse_sigmoid": ReverseSigmoid,
    "rounding": Rounding,
    "top_k": TopK,
}
