"""Accuracy of copies against queries, with a defense and without. Pure functions of the records."""

import math
from collections.abc import Mapping
from typing import Any

from honeyguard.benchmark.comparisons import PLAIN, thefts
from honeyguard.stats import Estimate, mean

Record = dict[str, Any]
Curve = dict[int, Estimate]
"""Queries -> accuracy of the copies, a mean over seeds, in increasing order."""

LEAST = 3  # budgets that make a curve
HONEST = ("top1", "label_smoothing", "partial_bayes", "inversion")
UNITS = {
    "nats_per_query": "entropy_gain",
    "bits_per_query": "entropy_gain_bits",
    "kl_nats_per_query": "kl",
    "kl_reverse_nats_per_query": "kl_reverse",
}


def curves(stories: list[Record]) -> dict[tuple[str, str], Curve]:
    """Each defense and reading of the answers that thieves with `LEAST` budgets or more tried, all else plain and equal."""
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    pools = set()
    for role in ("undefended", "stolen"):
        for _, suspect in thefts(stories, role):
            thief = suspect["thief"]
            if (thief["query"], thief["training"]) == PLAIN:
                pools.add(thief["pool"])
                reading = thief["answer"].partition("(")[0]
                found.setdefault((suspect["defense"], reading), {}).setdefault(thief["queries"], []).append(suspect["accuracy"]["value"])
    if len(pools) != 1:
        return {}
    return {name: {q: mean(values[q]) for q in sorted(values)} for name, values in found.items() if len(values) >= LEAST}


def lost(without: Curve, defended: Curve) -> list[float]:
    """Points that a defense takes at equal queries, one a budget."""
    return [100 * (without[q].value - defended[q].value) for q in without if q in defended]


def query_factor(without: Curve, defended: Curve) -> tuple[float, bool]:
    """How many times the queries a copy of the defended model needs for the same accuracy, at the budget where that is most.

    Between budgets accuracy is linear in the logarithm of the queries. The second value says whether no budget reached that accuracy,
    so that the factor is at least what it says.
    """
    return max((_needed(defended, accuracy.value, q) for q, accuracy in without.items()), default=(math.nan, False))


def _needed(defended: Curve, accuracy: float, queries: int) -> tuple[float, bool]:
    points = [(math.log(q), figure.value) for q, figure in defended.items()]
    before = points[0]
    for place, value in points:
        if value >= accuracy:
            share = (accuracy - before[1]) / (value - before[1]) if value > before[1] else 1.0
            return math.exp(before[0] + max(share, 0.0) * (place - before[0])) / queries, False
        before = (place, value)
    return max(defended) / queries, True


def summary(stories: list[Record]) -> list[Record]:
    """The curves as the report draws them."""
    return [
        {"defense": defense, "reading": reading, "points": [{"queries": q, "accuracy": figure.record()} for q, figure in curve.items()]}
        for (defense, reading), curve in curves(stories).items()
    ]


def figures(stories: list[Record]) -> dict[str, float]:
    """What a suite with curves says of its reverse sigmoid: name -> number; nothing of other suites.

    Points lost and queries needed compare with thieves who read the undefended answers as given; points are means over the budgets.
    """
    drawn = curves(stories)
    without = drawn.get(("none", "as_given"))
    defense = next((name for name, reading in drawn if name.startswith("reverse_sigmoid") and reading == "as_given"), None)
    if not without or not defense:
        return {}
    naive = drawn[defense, "as_given"]
    points, (factor, bounded) = lost(without, naive), query_factor(without, naive)
    served = [d for story in stories for d in story["defenses"] if d["name"] == defense]
    return {
        "accuracy_lost_points": mean(points).value,
        "accuracy_lost_points_most": max(points),
        "accuracy_lost_points_least": min(points),
        "query_factor": factor,
        "query_factor_is_at_least": float(bounded),
        "protected_accuracy_cost_points": mean([d["cost_points"] for d in served]).value,
        **{name: mean([d["distortion"][unit]["value"] for d in served]).value for name, unit in UNITS.items()},
        **_honest(without, {reading: curve for (name, reading), curve in drawn.items() if name == defense}),
    }


def _honest(without: Curve, readings: Mapping[str, Curve]) -> dict[str, float]:
    """The same for thieves who don't read the answers as given."""
    return {
        f"{'label_only' if name == 'top1' else name}_accuracy_lost_points": mean(lost(without, readings[name])).value
        for name in HONEST
        if name in readings
    }
