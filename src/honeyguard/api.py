"""What `from honeyguard import …` finds."""

from honeyguard.attacks import ANSWERS, QUERIES, Extraction
from honeyguard.audit import Audit, Thief
from honeyguard.checks import check_attack, check_defense
from honeyguard.client import Remote
from honeyguard.data import load as load_data
from honeyguard.defenses import DEFENSES, Honeypot, LinearHoneypot, ReverseSigmoid
from honeyguard.errors import HoneyguardError
from honeyguard.onnx_oracle import OnnxModel
from honeyguard.oracle import LabelOnly, Local, Metered, TopK
from honeyguard.training import Network, Recipe
from honeyguard.transfer import Recorded, load_transfer
from honeyguard.types import Attack, Defense, Labelled, Oracle, OwnerData, OwnerKey, Protected, Verdict, Verifier
from honeyguard.verbs import Evaluation, evaluate, extract, protect, verify
from honeyguard.verification import VERIFIERS, TriggerTest

__all__ = [
    "ANSWERS",
    "DEFENSES",
    "QUERIES",
    "VERIFIERS",
    "Attack",
    "Audit",
    "Defense",
    "Evaluation",
    "Extraction",
    "HoneyguardError",
    "Honeypot",
    "LabelOnly",
    "Labelled",
    "LinearHoneypot",
    "Local",
    "Metered",
    "Network",
    "OnnxModel",
    "Oracle",
    "OwnerData",
    "OwnerKey",
    "Protected",
    "Recipe",
    "Recorded",
    "Remote",
    "ReverseSigmoid",
    "Thief",
    "TopK",
    "TriggerTest",
    "Verdict",
    "Verifier",
    "check_attack",
    "check_defense",
    "evaluate",
    "extract",
    "load_data",
    "load_transfer",
    "protect",
    "verify",
]
