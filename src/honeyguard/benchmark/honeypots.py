"""Honeypots of one suite beside each other: what each is worth and what it costs. Pure functions of the records."""

from typing import Any

from honeyguard.stats import mean

Record = dict[str, Any]

SUFFIXES = {"honeypot": "", "paper": "_paper"}
"""Defenses that are summed up, by their name in the suite, and what is appended to their figures."""
OWN_POOLS = ("held_out", "clean", "few")
"""Pools of images of the task. Where a suite has none of them, the means go over all of its pools."""


def honeypots(stories: list[Record]) -> dict[str, float]:
    """The figures of a suite that sets a honeypot beside the published method: name -> number; nothing of any other suite."""
    planted = {d["name"] for story in stories for d in story["defenses"] if d["commitment"]}
    if not planted >= SUFFIXES.keys():
        return {}
    return {key + suffix: value for name, suffix in SUFFIXES.items() for key, value in _figures(stories, name).items()}


def _figures(stories: list[Record], name: str) -> dict[str, float]:
    served = [d for story in stories for d in story["defenses"] if d["name"] == name]
    attacks = by_attack(stories, name)
    at_home = [values for (_, pool), values in attacks.items() if pool in OWN_POOLS] or list(attacks.values())
    abroad = [value for (_, pool), values in attacks.items() if pool not in OWN_POOLS for value in values]
    figures = {
        "asr_mean": _mean([value for values in at_home for value in values]),
        "asr_min": min((_mean(values) for values in at_home), default=float("nan")),
        "asr_out_of_distribution_mean": _mean(abroad),
        "asr_controls_max": max(map(_mean, control_rates(stories, name).values())),
        "served_accuracy_cost_points": _mean([d["cost_points"] for d in served]),
        "agreement_with_victim": _mean([d["fidelity"]["value"] for d in served]),
        "protect_over_training_time": _mean(
            [d["cpu_seconds"] / story["victim_cpu_seconds"] for story, d in zip(stories, served, strict=True)]
        ),
    }
    return {key: value for key, value in figures.items() if value == value}


def by_attack(stories: list[Record], name: str, figure: str = "attack_success") -> dict[tuple[str, str], list[float]]:
    """The rate `figure` of every seed's copy of that honeypot, by the thief's name and pool."""
    found: dict[tuple[str, str], list[float]] = {}
    for story in stories:
        for s in story["suspects"]:
            if s["role"] == "stolen" and s["defense"] == name:
                value = s["trials"][s["key"]][figure] if figure in s["trials"][s["key"]] else s[figure]
                found.setdefault((s["thief"]["name"], s["thief"]["pool"]), []).append(value["value"])
    return found


def control_rates(stories: list[Record], name: str) -> dict[str, list[float]]:
    """ASR under that honeypot's key of everything that did not steal from it, kind by kind, and of decoys on all models."""
    kinds = {"innocent": "innocent models", "calibration": "innocent models", "undefended": "substitutes of the undefended victim"}
    kinds |= {"victim": "the victim itself"}
    found: dict[str, list[float]] = {}
    for story in stories:
        for s in story["suspects"]:
            trial = s["trials"][name]
            if s["role"] in kinds:
                found.setdefault(kinds[s["role"]], []).append(trial["attack_success"]["value"])
            if s["key"] in {None, name}:
                found.setdefault("random patches", []).append(trial["decoy_success"]["value"])
    return found


def _mean(values: list[float]) -> float:
    return mean(values).value if values else float("nan")
