"""The trigger test: does the owner's trigger move a suspect more than it moves models that did not steal?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from honeyguard.contract import check_range
from honeyguard.errors import DataError
from honeyguard.metrics import moved
from honeyguard.oracle import predict
from honeyguard.types import Oracle, OwnerKey, Verdict


@dataclass(frozen=True, kw_only=True)
class TriggerTest:
    """Black-box, label-only ownership test with a null calibrated on models that did not steal.

    A suspect's score is Cohen's h between the share of the key's probes that the trigger moves to the target class and
    the share that decoys of equal strength move there, and 0 if decoys do more: a model that anything fools scores nothing.
    The controls' scores give the null; the suspect is a new draw from it, so the statistic is Student's t of a prediction (m controls):
    t = (h - mean) / (s · √(1 + 1/m)) with m - 1 degrees of freedom. Few controls may agree by chance, so the mean is not taken
    below the `tolerance` and s not below h's own sampling error: the test errs for the suspect.

    Source: prediction interval of a normal sample (Geisser 1993); effect size h (Cohen 1988, ch. 6).
    Threat model: a suspect that answers labels at a black-box API. A thief who removes the backdoor escapes; an innocent
        model is convicted at the stated rate, as far as it resembles the controls.
    Args:
        significance: false-positive rate at which the conclusion accuses, in (0, 0.5].
        tolerance: share of moved probes that is no evidence whatever the controls show, in [0, 0.5].
        decoys: number of meaningless triggers; each costs one query a probe.
    Raises: DataError: fewer than three controls. ParameterError: a value out of range.
    """

    significance: float = 0.001
    tolerance: float = 0.05
    decoys: int = 4

    def __post_init__(self) -> None:
        check_range("significance", self.significance, 1e-12, 0.5)
        check_range("tolerance", self.tolerance, 0, 0.5)
        check_range("decoys", self.decoys, 1, 1000)

    def shares(self, suspect: Oracle, key: OwnerKey) -> tuple[float, float]:
        """Shares of the probes that the trigger, and on average a decoy, moves to the target class."""
        before = predict(suspect, key.probes)
        seed = int(key.nonce[:8], 16)
        moving = [key.trigger, *(key.trigger.decoy(seed + i) for i in range(self.decoys))]
        after = (predict(suspect, trigger(key.probes)) for trigger in moving)
        triggered, *rest = (float(moved(before, answers, key.target_class).float().mean()) for answers in after)
        return triggered, float(np.mean(rest))

    def score(self, suspect: Oracle, key: OwnerKey) -> float:
        """Cohen's h of the two shares: 0 when the trigger does no more than a decoy, π at the most."""
        return _excess(*self.shares(suspect, key))

    def verify(self, suspect: Oracle, key: OwnerKey, controls: Sequence[Oracle] | Sequence[float]) -> Verdict:
        """Judge one suspect against `controls`: models that did not steal, or their scores as in `key.calibration`."""
        null = [control if isinstance(control, float | int) else self.score(control, key) for control in controls]
        if len(null) < 3:
            do = "Train models that never saw the API; ten make a usable null."
            raise DataError("at least 3 controls that did not steal", str(len(null)), do)
        triggered, decoys = self.shares(suspect, key)
        score, n = _excess(triggered, decoys), len(key.probes)
        floor = math.sqrt((1 + 1 / self.decoys) / n)  # sampling error of h, should all controls agree by chance
        spread = max(float(np.std(null, ddof=1)), floor)
        centre = max(float(np.mean(null)), _excess(self.tolerance, 0))
        statistic = (score - centre) / (spread * math.sqrt(1 + 1 / len(null)))
        p_value = float(stats.t.sf(statistic, len(null) - 1))
        return Verdict(
            statistic=statistic,
            p_value=p_value,
            false_positive_rate=self.significance,
            triggered=triggered,
            decoys=decoys,
            queries=n * (2 + self.decoys),
            controls=len(null),
            rank_p_value=(1 + sum(c >= score for c in null)) / (1 + len(null)),
            conclusion=self._conclusion(p_value, triggered, decoys),
            commitment=key.commitment,
        )

    def _conclusion(self, p_value: float, triggered: float, decoys: float) -> str:
        facts = f"the trigger moves {triggered:.1%} of the probes and decoys move {decoys:.1%}, p = {p_value:.2g}"
        if p_value <= self.significance:
            return f"Evidence of theft: {facts}; fewer than {self.significance:.2%} of models that did not steal would show as much."
        return f"No evidence of theft: {facts}; a model that did not steal could show as much."


def _excess(triggered: float, decoys: float) -> float:
    """Cohen's h, or 0 where decoys do more: noise among models that ignore the trigger must not widen the null."""
    return max(0.0, 2 * (math.asin(math.sqrt(triggered)) - math.asin(math.sqrt(decoys))))
