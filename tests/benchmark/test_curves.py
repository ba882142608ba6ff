"""Accuracy against queries, on records written by hand."""

from typing import Any

import pytest

from honeyguard.benchmark.curves import curves, figures, lost, query_factor
from honeyguard.stats import Estimate, mean
from tests.benchmark.test_comparisons import copy, story

DISTORTION = {"entropy_gain": 2.0, "entropy_gain_bits": 3.0, "kl": 1.5, "kl_reverse": 9.0}


def curve(values: dict[int, float]) -> dict[int, Estimate]:
    return {queries: mean([value]) for queries, value in values.items()}


def told(**fields: Any) -> dict[str, Any]:
    """A story with an undefended thief, a naive one and one who reads labels, at three budgets."""
    rows = [copy(accuracy=a, queries=q, **fields) for q, a in ((100, 0.6), (1000, 0.8), (10_000, 0.9))]
    rows += [copy(accuracy=a, queries=q, defense="reverse_sigmoid") for q, a in ((100, 0.3), (1000, 0.5), (10_000, 0.7))]
    rows += [copy(answer="top1", accuracy=a, queries=q, defense="reverse_sigmoid") for q, a in ((100, 0.6), (1000, 0.8), (10_000, 0.87))]
    served = {"name": "reverse_sigmoid", "cost_points": 0.5, "distortion": {k: {"value": v} for k, v in DISTORTION.items()}}
    return story(*rows) | {"defenses": [served]}


def test_the_figures_of_a_suite_with_curves() -> None:
    found = figures([told(), told()])
    assert found["accuracy_lost_points"] == pytest.approx((30 + 30 + 20) / 3)
    assert (found["accuracy_lost_points_most"], found["accuracy_lost_points_least"]) == pytest.approx((30, 20))
    assert found["label_only_accuracy_lost_points"] == pytest.approx(1)
    assert found["query_factor"] == pytest.approx(10**1.5)  # .6 lies half way, in logarithms, from 1 000 to 10 000 queries
    assert found["query_factor_is_at_least"] == 0
    assert found["nats_per_query"] == 2 and found["bits_per_query"] == 3
    assert found["protected_accuracy_cost_points"] == 0.5
    assert "partial_bayes_accuracy_lost_points" not in found


def test_an_accuracy_that_no_budget_reaches_gives_a_lower_bound() -> None:
    assert query_factor(curve({10: 0.9, 100: 0.95}), curve({10: 0.1, 100: 0.2})) == (10, True)
    assert query_factor(curve({10: 0.9, 100: 0.95}), curve({10: 0.95, 100: 0.96})) == pytest.approx((1, False))


def test_a_defense_that_takes_nothing_has_the_factor_one() -> None:
    same = curve({10: 0.2, 100: 0.5, 1000: 0.8})
    factor, bounded = query_factor(same, same)
    assert factor == pytest.approx(1) and not bounded
    assert lost(same, same) == pytest.approx([0, 0, 0])


def test_two_budgets_are_no_curve_and_two_pools_are_not_mixed() -> None:
    assert curves([story(*(copy(accuracy=0.5, queries=q) for q in (1, 2)))]) == {}
    two_pools = [copy(accuracy=0.5, queries=q) for q in (1, 2, 3)]
    two_pools[0]["thief"]["pool"] = "other"
    assert curves([story(*two_pools)]) == {}
    assert figures([story(copy(accuracy=0.5))]) == {}
