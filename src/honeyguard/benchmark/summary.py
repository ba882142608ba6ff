"""From the stories of several seeds to figures with intervals. Pure functions of the records."""

from collections.abc import Callable, Iterator
from typing import Any

from honeyguard.benchmark import curves
from honeyguard.benchmark.comparisons import comparisons
from honeyguard.benchmark.honeypots import honeypots
from honeyguard.stats import Estimate, mean

Record = dict[str, Any]

CONTROLS = ("innocent models", "substitutes of the undefended victim", "the victim itself", "random patches")


def trials(stories: list[Record]) -> Iterator[tuple[Record, Record]]:
    """Each suspect with each of its trials; a copy of one honeypot is neither thief nor control under another's key."""
    for story in stories:
        for suspect in story["suspects"]:
            for key, trial in suspect["trials"].items():
                if suspect["key"] in {None, key}:
                    yield suspect, trial


def success(stories: list[Record], chosen: Callable[[Record], bool], figure: str = "attack_success") -> list[float]:
    """The rate `figure` of every chosen suspect under every key."""
    return [trial[figure]["value"] for suspect, trial in trials(stories) if chosen(suspect)]


def controls(stories: list[Record]) -> dict[str, list[float]]:
    """ASR on every kind of model that did not steal from the honeypot, and what random patches do to all models."""
    innocent, undefended, victim, patches = CONTROLS
    return {
        innocent: success(stories, lambda s: s["role"] in {"innocent", "calibration"}),
        undefended: success(stories, lambda s: s["role"] == "undefended"),
        victim: success(stories, lambda s: s["role"] == "victim"),
        patches: success(stories, lambda s: True, "decoy_success"),
    }


def p_values(stories: list[Record], role: str) -> list[float]:
    """Of the suspects of that role that stood trial."""
    return [trial["verdict"]["p_value"] for suspect, trial in trials(stories) if suspect["role"] == role and trial["verdict"]]


def thieves(stories: list[Record], answer: str, pool: str | None = None) -> list[float]:
    """ASR of the substitutes of honeypotted victims whose thief read the answers so, from one pool or from all."""
    return success(stories, lambda s: s["role"] == "stolen" and s["thief"]["answer"] == answer and pool in {None, s["thief"]["pool"]})


def headline(stories: list[Record]) -> dict[str, float]:
    """The figures that the README and docs quote: name -> number; what a suite lacks is left out."""
    defenses = [defense for story in stories for defense in story["defenses"]]
    innocents, stolen, rates = p_values(stories, "innocent"), p_values(stories, "stolen"), controls(stories)
    pools = sorted({s["thief"]["pool"] for story in stories for s in story["suspects"] if s["thief"]})
    by_pool = {
        f"asr_{name}_{pool}": thieves(stories, answer, pool)
        for name, answer in (("probabilities", "as_given"), ("labels", "top1"))
        for pool in pools
    }
    means = {
        "victim_accuracy": [story["victim_accuracy"]["value"] for story in stories],
        "served_accuracy_cost_points": [d["cost_points"] for d in defenses if d["commitment"]],
        "asr_probabilities": thieves(stories, "as_given"),
        "asr_labels": thieves(stories, "top1"),
        **(by_pool if len(pools) > 1 else {}),
        "innocents_p_above_0_05_share": [float(p > 0.05) for p in innocents],
        "demo_seconds": [story["wall_seconds"] for story in stories],
    }
    figures = {name: _mean(values) for name, values in means.items() if values}
    if all(rates.values()):
        figures["asr_controls_max"] = max(_mean(values) for values in rates.values())
        figures["asr_controls_worst_single"] = max(max(values) for values in rates.values())
    if stolen:
        figures["p_value_thieves_max"] = max(stolen)
    if innocents and stolen:
        figures["innocents_p_min"] = min(innocents)
    return figures | comparisons(stories) | curves.figures(stories) | honeypots(stories)


def summary(stories: list[Record]) -> Record:
    """Means over seeds with 95 % intervals: the defenses, the thefts, the controls."""
    return {
        "defenses": {
            name: {
                "served_accuracy": _over([d["accuracy"]["value"] for d in rows]),
                "cost_points": _over([d["cost_points"] for d in rows]),
                "top1_kept": _over([d["fidelity"]["value"] for d in rows]),
                "distortion": {k: _over([d["distortion"][k]["value"] for d in rows]) for k in rows[0]["distortion"]},
            }
            for name, rows in _by([d for story in stories for d in story["defenses"]], lambda d: d["name"]).items()
        },
        "thefts": {
            label: {
                "role": rows[0]["role"],
                "defense": rows[0]["defense"],
                "thief": rows[0]["thief"],
                "laundering": rows[0].get("laundering"),
                "accuracy": _over([s["accuracy"]["value"] for s in rows]),
                "fidelity": _over([s["fidelity"]["value"] for s in rows]),
                "asr": {
                    key: _over([s["trials"][key]["attack_success"]["value"] for s in rows if key in s["trials"]])
                    for key in dict.fromkeys(key for s in rows for key in s["trials"])  # two defenses may come to the same key on a seed
                },
            }
            for label, rows in _by([s for story in stories for s in story["suspects"] if s["thief"]], lambda s: s["label"]).items()
        },
        "controls": {kind: _over(values) for kind, values in controls(stories).items() if values},
        **({"curves": drawn} if (drawn := curves.summary(stories)) else {}),
    }


def _by(rows: list[Record], name: Callable[[Record], str]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return groups


def _over(values: list[float]) -> dict[str, float]:
    return (mean(values) if values else Estimate(float("nan"), float("nan"), float("nan"), 0)).record()


def _mean(values: list[float]) -> float:
    return _over(values)["value"]
