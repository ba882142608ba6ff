"""Ownership evidence: one file a verifier. A new one is one file and one line here."""

from honeyguard.types import Verifier
from honeyguard.verification.trigger_test import TriggerTest

__all__ = ["VERIFIERS", "TriggerTest"]

VERIFIERS: dict[str, type[Verifier]] = {"trigger_test": TriggerTest}
