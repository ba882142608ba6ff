"""The strongest setting of a defense within a stated loss of utility."""

from dataclasses import asdict, dataclass, replace
from typing import Generic, TypeVar

from torch import Tensor

from honeyguard.contract import check_answers
from honeyguard.defenses.outputs import OutputDefense, Strength
from honeyguard.errors import DataError, ParameterError
from honeyguard.metrics import calibration_error, distortion

D = TypeVar("D", bound=OutputDefense)
GRID, HALVINGS = 8, 10


@dataclass(frozen=True, kw_only=True)
class Utility:
    """What customers lose, or at most may lose; in a budget, None is no limit.

    Args:
        top1_lost: share of rows whose top class changes.
        l1: mean L1 distance of the answers, from 0 to 2.
        nats: mean KL(true ‖ given).
        calibration_error: expected calibration error of the given answers; it needs labels.
    """

    top1_lost: float | None = None
    l1: float | None = None
    nats: float | None = None
    calibration_error: float | None = None

    def within(self, budget: "Utility") -> bool:
        limits = asdict(budget)
        return all(limits[name] is None or value is None or value <= limits[name] for name, value in asdict(self).items())


@dataclass(frozen=True, kw_only=True)
class Tuned(Generic[D]):
    """The defense that was found, what it costs, and the trade-off: (strength, cost), strength rising."""

    defense: D
    cost: Utility
    curve: tuple[tuple[float, Utility], ...]


def tune(defense: D, answers: Tensor, budget: Utility, *, labels: Tensor | None = None) -> Tuned[D]:
    """The strongest setting of `defense` whose cost on the owner's data is within `budget`, found by bisection between points of a grid.

    Args:
        defense: one with a `strength` and without a surrogate; its other parameters stay.
        answers: the victim's own (N, K), to images that it was not trained on.
        budget: the most that customers may lose.
        labels: (N,) of the images, for the calibration error.
    Raises: AnswerError. DataError: no rows, or no labels where the budget needs them.
        ParameterError: a defense without a strength, or one that needs images, or a budget that no setting keeps; the message names the
            nearest one that is kept.
    """
    check_answers(answers)
    strength = defense.strength
    if strength is None:
        raise ParameterError("a defense with a strength to tune", type(defense).__name__, "Set its parameters yourself.")
    if getattr(defense, "surrogate", None) is not None:
        raise ParameterError(
            "a defense that needs no images", f"{type(defense).__name__} with a surrogate", "Tune it without, and add it then."
        )
    if not len(answers) or (budget.calibration_error is not None and labels is None):
        raise DataError("answers to tune on, and labels for a calibration error", "none", "Bring the owner's held-out data.")
    curve: dict[float, tuple[D, Utility]] = {}

    def kept(share: float) -> bool:
        """Whether the setting that is this share of the way to the strongest one is within the budget."""
        value = strength.weakest + share * (strength.strongest - strength.weakest)
        tried = replace(defense, **{strength.parameter: round(value) if strength.whole else value})
        curve[share] = tried, cost(tried, answers, labels)
        return curve[share][1].within(budget)

    good = [step for step in range(GRID + 1) if kept(step / GRID)]
    if not good:
        raise ParameterError("a utility budget that some setting keeps", *_nearest(budget, [u for _, u in curve.values()], strength))
    low, high = good[-1] / GRID, min(good[-1] + 1, GRID) / GRID
    for _ in range(HALVINGS if low < high else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) else (low, middle)
    found, spent = curve[low]
    points = {getattr(tried, strength.parameter): utility for _, (tried, utility) in sorted(curve.items())}
    return Tuned(defense=found, cost=spent, curve=tuple(points.items()))


def cost(defense: OutputDefense, answers: Tensor, labels: Tensor | None = None) -> Utility:
    """What customers lose by a defense of answers (N, K) to images with labels (N,)."""
    given = defense(answers)
    change = distortion(answers, given)
    return Utility(
        top1_lost=1 - change.top1_kept.value,
        l1=change.l1.value,
        nats=change.kl.value,
        calibration_error=None if labels is None else calibration_error(given, labels),
    )


def _nearest(budget: Utility, costs: list[Utility], strength: Strength) -> tuple[str, str]:
    """What was asked, and the budget to ask for instead: the one that raises the limits by the least in all."""
    asked = {name: limit for name, limit in asdict(budget).items() if limit is not None}
    raised = [{name: max(limit, asdict(u)[name]) for name, limit in asked.items()} for u in costs]
    nearest = min(raised, key=lambda limits: sum(limits[name] - asked[name] for name in asked))
    said = [", ".join(f"{name} ≤ {limit:.4g}" for name, limit in limits.items()) for limits in (asked, nearest)]
    return said[0], f"The nearest that a {strength.parameter} keeps: {said[1]}."
