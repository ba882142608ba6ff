"""The tables of README.md and docs/, from results/*.json; a file for each page."""

from collections.abc import Callable
from pathlib import Path

from tables.front import results
from tables.gateway import alarms, attribution, false_alarms, faults, memory, throughput
from tables.honeypot import honeypot_attacks, honeypot_cost, honeypot_matrix, honeypot_thieves, honeypots
from tables.perturbations import claims, curves, serving_costs, strongest
from tables.shared import headline_of
from tables.thieves import answers, laundering, queries

TABLES: dict[str, Callable[[Path], str]] = {
    "results": results,
    "queries": queries,
    "answers": answers,
    "strongest": strongest,
    "laundering": laundering,
    "honeypots": honeypots,
    "honeypot_attacks": honeypot_attacks,
    "honeypot_matrix": honeypot_matrix,
    "honeypot_mixture": honeypot_thieves("mixture"),
    "honeypot_ordinary": honeypot_thieves("ordinary"),
    "honeypot_queries": honeypot_thieves("queries"),
    "honeypot_cost": honeypot_cost,
    "claims": claims,
    "curves": curves,
    "data_free": headline_of("attacks/data_free", "digits"),
    "equivalent": headline_of("attacks/equivalent", "digits"),
    "alarms": alarms,
    "false_alarms": false_alarms,
    "attribution": attribution,
    "rivals": headline_of("attacks/rivals", "ours against adversarial-robustness-toolbox, digits"),
    "perturbation": headline_of("bench/perturbation", "output defenses, ours against the rival (throughput)"),
    "throughput": throughput,
    "memory": memory,
    "faults": faults,
    "serving_costs": serving_costs,
    "speed": headline_of("attacks/speed", "training, ours against a plain loop (throughput)"),
}
