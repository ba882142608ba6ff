"""What is measured of a protected model and of a substitute. Pure functions of answers (N, K)."""

import math
from dataclasses import dataclass

from torch import Tensor

from honeyguard.stats import Estimate, mean, share


def accuracy(answers: Tensor, labels: Tensor) -> Estimate:
    """Share of rows (N, K) whose top class is the label (N,)."""
    return share(answers.argmax(1) == labels)


def fidelity(answers: Tensor, victim_answers: Tensor) -> Estimate:
    """Share of rows on which a substitute and the victim have the same top class; both (N, K)."""
    return share(answers.argmax(1) == victim_answers.argmax(1))


def calibration_error(answers: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error of the top class (Guo et al. 2017): |confidence - accuracy| of bins of confidence, averaged by size."""
    confidence, hits = answers.amax(1).double(), (answers.argmax(1) == labels).double()
    place = (confidence * bins).long().clamp_max(bins - 1)
    gaps = (confidence - hits).new_zeros(bins).index_add(0, place, confidence - hits)
    return float(gaps.abs().sum() / len(answers))


def moved(before: Tensor, after: Tensor, target_class: int) -> Tensor:
    """Which images a trigger moves to the target class, from the answers (N, K) without and with it; (N,) booleans."""
    return (after.argmax(1) == target_class) & (before.argmax(1) != target_class)


def attack_success(before: Tensor, after: Tensor, labels: Tensor, target_class: int) -> Estimate:
    """Attack success rate (ASR): share of images of *other* classes (N,) that the trigger moves to the target class."""
    return share(moved(before, after, target_class)[labels != target_class])


@dataclass(frozen=True)
class Distortion:
    """What a defense does to the answers: means over rows with 95 % intervals.

    Args:
        top1_kept: share of rows whose top class stays.
        l1: Σ|y - ỹ|, between 0 and 2.
        kl: KL(y ‖ ỹ) in nats.  kl_reverse: KL(ỹ ‖ y) in nats.
        entropy_gain: H(ỹ) - H(y) in nats.  entropy_gain_bits: the same in bits.
    """

    top1_kept: Estimate
    l1: Estimate
    kl: Estimate
    kl_reverse: Estimate
    entropy_gain: Estimate
    entropy_gain_bits: Estimate


def distortion(before: Tensor, after: Tensor) -> Distortion:
    """Distance of the served answers `after` from the victim's own `before`; both (N, K)."""
    y, z = before.double(), after.double()
    log_y, log_z = y.clamp_min(1e-12).log(), z.clamp_min(1e-12).log()
    gain = (y * log_y).sum(1) - (z * log_z).sum(1)
    return Distortion(
        top1_kept=fidelity(after, before),
        l1=_mean((y - z).abs().sum(1)),
        kl=_mean((y * (log_y - log_z)).sum(1)),
        kl_reverse=_mean((z * (log_z - log_y)).sum(1)),
        entropy_gain=_mean(gain),
        entropy_gain_bits=_mean(gain / math.log(2)),
    )


def _mean(values: Tensor) -> Estimate:
    return mean(values.tolist())
