"""Render the results table of the README from results/*.json; with --check, only say whether it is up to date."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- results -->", "<!-- /results -->"
SUITES = {
    "demo": "digits",
    "unseen_seeds": "digits, seeds unseen in development",
    "clean_queries": "digits, clean queries only",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10 (WebP copies)",
}
ROWS = {
    "victim_accuracy": ("victim's accuracy", "{:.3f}"),
    "served_accuracy_cost_points": ("accuracy that the honeypot costs, points", "{:.2f}"),
    "asr_probabilities": ("ASR on copies trained on probabilities", "{:.1%}"),
    "asr_labels": ("ASR on copies trained on labels", "{:.1%}"),
    "asr_probabilities_held_out": ("… from held-out images of the task, probabilities", "{:.1%}"),
    "asr_labels_held_out": ("… from held-out images of the task, labels", "{:.1%}"),
    "asr_probabilities_photographs": ("… from photographs of other things, probabilities", "{:.1%}"),
    "asr_labels_photographs": ("… from photographs of other things, labels", "{:.1%}"),
    "asr_controls_max": ("ASR on models that did not steal, worst kind", "{:.1%}"),
    "p_value_thieves_max": ("largest p-value of a thief", "{:.1e}"),
    "innocents_p_min": ("smallest p-value of an innocent model on trial", "{:.2g}"),
}


def table(root: Path = ROOT) -> str:
    """The headline figures of every suite side by side."""
    found = {name: json.loads(path.read_text()) for name in SUITES if (path := root / "results" / f"{name}.json").exists()}
    head = ["", *(f"{SUITES[name]}, {len(result['seeds'])} seeds" for name, result in found.items())]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * len(found)]
    for key, (label, form) in ROWS.items():
        values = [form.format(result["headline"][key]) if key in result["headline"] else "" for result in found.values()]
        lines.append("| " + " | ".join([label, *values]) + " |")
    return "\n".join(lines)


def render(readme: str, root: Path = ROOT) -> str:
    """The README with its table replaced."""
    before, rest = readme.split(START)
    return before + START + "\n" + table(root) + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(render(text) != text and "The README's table is not what results/ says: run make readme.")
    path.write_text(render(text), encoding="utf-8")
