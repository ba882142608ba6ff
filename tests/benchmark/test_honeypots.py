"""The honeypot's figures beside the published method's, from stories written by hand."""

from typing import Any

import pytest

from honeyguard.benchmark.honeypots import honeypots


def value(number: float) -> dict[str, float]:
    return {"value": number}


def suspect(role: str, rates: tuple[float, float], defense: str | None = None, name: str = "", pool: str = "held_out") -> dict[str, Any]:
    trials = {
        key: {"attack_success": value(rate), "decoy_success": value(0.01)} for key, rate in zip(("honeypot", "paper"), rates, strict=True)
    }
    key = defense if role == "stolen" else None
    return {"role": role, "defense": defense, "key": key, "thief": {"name": name, "pool": pool} if name else None, "trials": trials}


STORY: dict[str, Any] = {
    "victim_cpu_seconds": 10.0,
    "defenses": [
        {"name": "none", "commitment": None},
        {"name": "honeypot", "commitment": "a", "cost_points": 0.5, "fidelity": value(0.99), "cpu_seconds": 8.0},
        {"name": "paper", "commitment": "b", "cost_points": 3.0, "fidelity": value(0.9), "cpu_seconds": 40.0},
    ],
    "suspects": [
        suspect("stolen", (0.9, 0.0), "honeypot", "random"),
        suspect("stolen", (0.7, 0.0), "honeypot", "entropy", "clean"),
        suspect("stolen", (0.6, 0.0), "honeypot", "random", "photographs"),
        suspect("stolen", (1.0, 0.4), "paper", "random"),
        suspect("undefended", (0.05, 0.3), "none", "random"),
        suspect("calibration", (0.02, 0.1)),
        suspect("innocent", (0.04, 0.1)),
        suspect("victim", (0.0, 0.2)),
    ],
}


def test_each_honeypot_is_summed_up_under_its_own_key() -> None:
    figures = honeypots([STORY])
    assert figures == pytest.approx(
        {
            "asr_mean": 0.8,
            "asr_min": 0.7,
            "asr_out_of_distribution_mean": 0.6,
            "asr_controls_max": 0.05,
            "served_accuracy_cost_points": 0.5,
            "agreement_with_victim": 0.99,
            "protect_over_training_time": 0.8,
            "asr_mean_paper": 0.4,
            "asr_min_paper": 0.4,
            "asr_controls_max_paper": 0.3,
            "served_accuracy_cost_points_paper": 3.0,
            "agreement_with_victim_paper": 0.9,
            "protect_over_training_time_paper": 4.0,
        }
    )


def test_the_mean_over_seeds_comes_before_the_worst() -> None:
    weaker = [s if s["role"] != "stolen" else suspect("stolen", (0.5, 0.5), s["defense"], **s["thief"]) for s in STORY["suspects"]]
    other = STORY | {"suspects": weaker}
    figures = honeypots([STORY, other])
    assert figures["asr_mean"] == pytest.approx((0.9 + 0.7 + 0.5 + 0.5) / 4)
    assert figures["asr_min"] == pytest.approx(0.6)


def test_other_suites_have_none_of_these_figures() -> None:
    assert honeypots([STORY | {"defenses": STORY["defenses"][:2]}]) == {}


def test_without_images_of_the_task_the_mean_goes_over_all_pools() -> None:
    suspects = [s for s in STORY["suspects"] if s["role"] != "stolen" or s["defense"] == "paper"]
    abroad = [suspect("stolen", (rate, 0.0), "honeypot", pool, pool) for pool, rate in (("photographs", 0.6), ("cifar100", 0.8))]
    figures = honeypots([STORY | {"suspects": suspects + abroad}])
    assert figures["asr_mean"] == figures["asr_out_of_distribution_mean"] == pytest.approx(0.7)
    assert figures["asr_min"] == pytest.approx(0.6)
