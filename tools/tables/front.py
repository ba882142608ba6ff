"""The table of README.md."""

from pathlib import Path

from tables.shared import formatted, markdown, record_of

SUITES = {
    "demo": "digits",
    "unseen_seeds": "digits, seeds unseen in development",
    "clean_queries": "digits, clean queries only",
}


ROWS = {
    "victim_accuracy": ("victim's accuracy", "{:.3f}"),
    "served_accuracy_cost_points": ("accuracy that the honeypot costs, points", "{:.2f}"),
    "asr_probabilities": ("ASR on copies trained on probabilities", "{:.1%}"),
    "asr_labels": ("ASR on copies trained on labels", "{:.1%}"),
    "asr_controls_max": ("ASR on models that did not steal, worst kind", "{:.1%}"),
    "p_value_thieves_max": ("largest p-value of a thief", "{:.1e}"),
    "innocents_p_min": ("smallest p-value of an innocent model on trial", "{:.2g}"),
}


def results(root: Path) -> str:
    """The headline figures of every suite side by side."""
    found = {name: record for name in SUITES if (record := record_of(root, name))}
    head = ["", *(f"{SUITES[name]}, {len(record['seeds'])} seeds" for name, record in found.items())]
    rows = ([label, *(formatted(record["headline"], key, form) for record in found.values())] for key, (label, form) in ROWS.items())
    return markdown(head, rows)
