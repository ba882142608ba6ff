"""The tables of README.md and docs/, from results/*.json."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]

SUITES = {
    "demo": "digits",
    "unseen_seeds": "digits, seeds unseen in development",
    "clean_queries": "digits, clean queries only",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10 (WebP copies)",
}
ATTACKS = {"digits": "digits", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10 (WebP copies)"}
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


def results(root: Path) -> str:
    """The headline figures of every suite side by side."""
    found = {name: record for name in SUITES if (record := _read(root, name))}
    head = ["", *(f"{SUITES[name]}, {len(record['seeds'])} seeds" for name, record in found.items())]
    rows = ([label, *(_form(record["headline"], key, form) for record in found.values())] for key, (label, form) in ROWS.items())
    return _table(head, rows)


def queries(root: Path) -> str:
    """Fidelity of every query strategy, set by set: pool and budget across."""
    return _attacks(root, _queries_of)


def _queries_of(thefts: list[Record]) -> str:
    chosen = [t for t in thefts if t["defense"] == "none" and (t["thief"]["answer"], t["thief"]["training"]) == ("as_given", "supervised")]
    columns = sorted({(t["thief"]["pool"], t["thief"]["queries"]) for t in chosen})
    found = {(t["thief"]["query"], t["thief"]["pool"], t["thief"]["queries"]): t["fidelity"] for t in chosen}
    names = list(dict.fromkeys(t["thief"]["query"] for t in chosen))
    rows = ([f"`{name}`", *(_interval(found.get((name, *column))) for column in columns)] for name in names)
    return _table(["fidelity", *(f"{budget} of {pool.replace('_', ' ')}" for pool, budget in columns)], rows)


def answers(root: Path) -> str:
    """Accuracy of copies by how the answers were read, set by set: defenses across, the strongest thief of each in bold."""
    return _attacks(root, _answers_of)


def _answers_of(thefts: list[Record]) -> str:
    defenses = list(dict.fromkeys(t["defense"] for t in thefts))
    budgets = {(t["thief"]["pool"], t["thief"]["queries"]) for t in thefts if t["defense"] != "none"}
    chosen = [t for t in thefts if (t["thief"]["pool"], t["thief"]["queries"]) in budgets and t["thief"]["query"] in {"random", "repeated"}]
    found: dict[tuple[str, str], Record] = {}
    for t in chosen:
        thief = t["thief"]
        parts = [thief["answer"].partition("(")[0], *({thief["training"]} - {"supervised"}), *({thief["query"]} - {"random"})]
        found[" + ".join(p for p in parts if len(parts) == 1 or p != "as_given"), t["defense"]] = t["accuracy"]
    best = {d: max(v["value"] for (_, other), v in found.items() if other == d) for d in defenses}

    def cell(name: str, defense: str) -> str:
        figure = found.get((name, defense))
        text = _interval(figure)
        return f"**{text}**" if figure and figure["value"] == best[defense] else text

    names = list(dict.fromkeys(name for name, _ in found))
    return _table(["accuracy of the copy", *defenses], ([f"`{name}`", *(cell(name, d) for d in defenses)] for name in names))


def laundering(root: Path) -> str:
    """What each laundering leaves of a copy."""
    record = _read(root, "attacks/laundering")
    if not record:
        return ""
    figures = record["headline"]
    names = [key.removeprefix("asr_after_") for key in figures if key.startswith("asr_after_")]
    rows = (
        [name.replace("_", " "), *(_form(figures, f"{kind}_after_{name}", "{:.1%}") for kind in ("asr", "accuracy", "convicted"))]
        for name in names
    )
    return _table([f"after, {len(record['seeds'])} seeds", "ASR", "clean accuracy", "still convicted"], rows)


def headline_of(name: str, title: str) -> Callable[[Path], str]:
    """A plain table of one result's headline."""

    def render(root: Path) -> str:
        record = _read(root, name)
        rows = ([key.replace("_", " "), f"{value:.4g}"] for key, value in record["headline"].items()) if record else ()
        return _table([f"{title}, {len(record['seeds'])} seeds" if len(record["seeds"]) > 1 else title, ""], rows) if record else ""

    return render


def throughput(root: Path) -> str:
    """The gateway beside bare ONNX Runtime and MLServer, at each number of connections."""
    record = _read(root, "gateway/throughput")
    if not record:
        return ""
    sides = {"bare": "bare ONNX Runtime", "full": "the whole gateway"} | ({"mlserver": "MLServer"} if record["mlserver"] else {})
    columns = [
        *(f"{name}: requests a second (p50, p99 in ms)" for name in sides.values()),
        *(f"whole over {sides[s]}: throughput, processor time" for s in sides if s != "full"),
    ]
    rows = [
        [
            f"{case}, {key[1:]}",
            *("{per_second:.0f} ({p50_ms:.2g}, {p99_ms:.2g})".format(**found[side]) for side in sides),
            *("{median:.2f} [{low:.2f}, {high:.2f}], {processor:.2f}".format(**found["ratios"][side]) for side in sides if side != "full"),
        ]
        for case, cases in record["cases"].items()
        for key, found in cases.items()
        if key.startswith("c") and isinstance(found, dict) and "ratios" in found
    ]
    return _table(["images, connections", *columns], rows)


def faults(root: Path) -> str:
    """What was broken, and whether the gateway held."""
    record = _read(root, "gateway/faults")
    if not record:
        return ""
    rows = (
        [name, "yes" if fault["survived"] else "**no**", str(fault["undercounts"]), str(fault["leaks"])]
        for name, fault in record["faults"].items()
    )
    return _table(["fault", "survived", "budgets under-counted", "raw probabilities leaked"], rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "results": results,
    "queries": queries,
    "answers": answers,
    "laundering": laundering,
    "data_free": headline_of("attacks/data_free", "digits"),
    "equivalent": headline_of("attacks/equivalent", "digits"),
    "rivals": headline_of("attacks/rivals", "ours against adversarial-robustness-toolbox, digits"),
    "throughput": throughput,
    "faults": faults,
    "speed": headline_of("attacks/speed", "training, ours against a plain loop (throughput)"),
}


def _read(root: Path, name: str) -> Record | None:
    path = root / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _attacks(root: Path, render: Callable[[list[Record]], str]) -> str:
    parts = []
    for name, title in ATTACKS.items():
        if record := _read(root, f"attacks/{name}"):
            thefts = [t for t in record["summary"]["thefts"].values() if not t["laundering"]]
            accuracy = record["headline"]["victim_accuracy"]
            parts.append(f"**{title}**, {len(record['seeds'])} seeds, victim's accuracy {accuracy:.3f}\n\n{render(thefts)}")
    return "\n\n".join(parts)


def _interval(figure: Record | None) -> str:
    return f"{figure['value']:.3f} ± {(figure['high'] - figure['low']) / 2:.3f}" if figure else ""


def _form(figures: Record, key: str, form: str) -> str:
    return form.format(figures[key]) if key in figures else ""


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
