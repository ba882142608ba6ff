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
    "cifar10": "CIFAR-10 (WebP copies)",
}
ATTACKS = {"digits": "digits", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10 (WebP copies)"}
CLAIMED = {"mnist": "MNIST", "cifar10": "CIFAR-10 (WebP copies)"}
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
    found = _by_reading(thefts)
    defenses, readings = (list(dict.fromkeys(pair[i] for pair in found)) for i in (1, 0))
    rows = ([f"`{reading}`", *(_against(found, reading, d) for d in defenses)] for reading in readings)
    return _table(["accuracy of the copy", *defenses], rows)


def strongest(root: Path) -> str:
    """Every perturbation against every reading within the same promises, set by set: the strongest thief of each in bold."""
    parts = []
    for name, title in ATTACKS.items():
        if record := _read(root, f"perturbations/{name}"):
            found, served = _by_reading(list(record["summary"]["thefts"].values())), record["summary"]["defenses"]
            readings = list(dict.fromkeys(reading for reading, _ in found))
            best = {d: _best(found, d) for d in served}
            rows = (
                [f"`{d}`", f"{served[d]['distortion']['l1']['value']:.2f}", *(_against(found, reading, d) for reading in readings)]
                for d in sorted(served, key=lambda d: (d != "none", best[d]))
            )
            accuracy = record["headline"]["victim_accuracy"]
            table = _table(["accuracy of the copy", "mean L1", *(f"`{reading}`" for reading in readings)], rows)
            parts.append(f"**{title}**, {len(record['seeds'])} seeds, victim's accuracy {accuracy:.3f}\n\n{table}")
    return "\n\n".join(parts)


def _by_reading(thefts: list[Record]) -> dict[tuple[str, str], Record]:
    """The copy's accuracy by reading and defense, at the budgets at which defenses were attacked."""
    budgets = {(t["thief"]["pool"], t["thief"]["queries"]) for t in thefts if t["defense"] != "none"}
    found: dict[tuple[str, str], Record] = {}
    for t in thefts:
        thief = t["thief"]
        if (thief["pool"], thief["queries"]) in budgets and thief["query"] in {"random", "repeated"}:
            parts = [thief["answer"].partition("(")[0], *({thief["training"]} - {"supervised"}), *({thief["query"]} - {"random"})]
            found[" + ".join(p for p in parts if len(parts) == 1 or p != "as_given"), t["defense"]] = t["accuracy"]
    return found


def _best(found: dict[tuple[str, str], Record], defense: str) -> float:
    return max(float(figure["value"]) for (_, other), figure in found.items() if other == defense)


def _against(found: dict[tuple[str, str], Record], reading: str, defense: str) -> str:
    figure = found.get((reading, defense))
    text = _interval(figure)
    return f"**{text}**" if figure and figure["value"] == _best(found, defense) else text


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


def alarms(root: Path) -> str:
    """Queries to the first alarm by thief and task, one number a seed."""
    record = _read(root, "gateway/detection")
    if not record:
        return ""
    tasks = record["alarms"]

    def cell(found: list[int | None]) -> str:
        return ", ".join("–" if queries is None else str(queries) for queries in found)

    rows = (
        [
            f"`{thief}`",
            *(cell(task["thieves"][thief]["queries_to_alarm"]) for task in tasks.values()),
            ", ".join(dict.fromkeys(name for task in tasks.values() for name in task["thieves"][thief]["detectors"])),
        ]
        for thief in next(iter(tasks.values()))["thieves"]
    )
    watched = {name: max(thief["queries"] for thief in runs[0]["thieves"].values()) for name, runs in record["runs"].items()}
    titles = (f"{ATTACKS[name]}, {watched[name]} queries watched" for name in tasks)
    return _table(["thief", *titles, "seen by"], rows)


def false_alarms(root: Path) -> str:
    """False alarms of benign clients, who were no part of the calibration."""
    record = _read(root, "gateway/detection")
    if not record:
        return ""
    tasks = {name: task["false_alarms_per_100_client_days"] for name, task in record["alarms"].items()}
    names = list(dict.fromkeys(detector for task in tasks.values() for detector in task))
    rows = (
        [
            {"any": "any detector"}.get(name, f"`{name}`"),
            *("{value:.2f} ({low:.2f} … {high:.2f})".format(**task[name]) if name in task else "" for task in tasks.values()),
        ]
        for name in names
    )
    return _table(["false alarms in 100 client-days", *(ATTACKS[name] for name in tasks)], rows)


def attribution(root: Path) -> str:
    """Who was named, by the queries of a client."""
    record = _read(root, "gateway/detection")
    if not record:
        return ""
    rows = (
        [
            budget,
            f"{found['marks']['value']:.1f}",
            str(found["thefts"]),
            "{value:.2f} ({low:.2f} … {high:.2f})".format(**found["right"]),
            str(found["innocents_named"]),
        ]
        for budget, found in sorted(record["attribution"].items(), key=lambda pair: int(pair[0]))
    )
    return _table(
        ["queries of each client", "marks", "thefts", "share with the right client named, and nobody else", "innocents named"], rows
    )


HONEYPOTS = {
    "victim_accuracy": ("victim's accuracy", "{:.3f}"),
    "asr_mean": ("ASR, mean over attacks with images of the task", "{:.1%}"),
    "asr_min": ("ASR of the weakest of these attacks", "{:.1%}"),
    "asr_out_of_distribution_mean": ("ASR, mean over attacks with photographs of other things", "{:.1%}"),
    "asr_controls_max": ("ASR on what did not steal, worst kind", "{:.1%}"),
    "served_accuracy_cost_points": ("accuracy that it costs, points", "{:.2f}"),
    "agreement_with_victim": ("answers that stay the victim's", "{:.1%}"),
    "protect_over_training_time": ("time to protect, over the victim's training", "{:.2f}"),
}


def honeypots(root: Path) -> str:
    """The default beside the published method, on every set."""
    found = {name: record for name in ATTACKS if (record := _read(root, f"honeypot/{name}"))}
    columns = [(record["headline"], suffix) for record in found.values() for suffix in ("", "_paper")]
    titles = (f"{ATTACKS[name]}, {len(record['seeds'])} seeds{kind}" for name, record in found.items() for kind in ("", ": published"))
    rows = (
        [label, *(_form(figures, key + ("" if key == "victim_accuracy" else suffix), form) for figures, suffix in columns)]
        for key, (label, form) in HONEYPOTS.items()
    )
    return _table(["", *titles], rows)


def honeypot_attacks(root: Path) -> str:
    """Every attack on every set: ASR on the copy under the default and the published method, and how good the copy is."""
    parts = []
    for name, title in ATTACKS.items():
        if record := _read(root, f"honeypot/{name}"):
            thefts = record["summary"]["thefts"].values()
            found = {(t["thief"]["name"], t["defense"]): t for t in thefts}
            rows = (
                [
                    attack,
                    *(_interval(_own(found, attack, d)) for d in ("honeypot", "paper")),
                    _interval(found[attack, "honeypot"]["fidelity"]),
                ]
                for attack in dict.fromkeys(attack for attack, defense in found if defense == "honeypot")
            )
            table = _table(["attack", "ASR", "ASR, published method", "fidelity of the copy"], rows)
            parts.append(f"**{title}**, {len(record['seeds'])} seeds\n\n{table}")
    return "\n\n".join(parts)


def _own(found: dict[tuple[str, str], Record], attack: str, defense: str) -> Record | None:
    return found[attack, defense]["asr"][defense] if (attack, defense) in found else None


def honeypot_matrix(root: Path) -> str:
    """ASR on copies by the network that the owner simulated thefts with (rows) and the one that the thief trained."""
    record = _read(root, "honeypot/ablations")
    if not record or not record["matrix"]:
        return ""
    thieves = [key for key in next(iter(record["matrix"].values())) if key.startswith("asr: ")]
    rows = ([f"`{shadow}`", *(_interval(figures[key]) for key in thieves)] for shadow, figures in record["matrix"].items())
    return _table(["shadow model", *(f"thief `{key.removeprefix('asr: ')}`" for key in thieves)], rows)


def honeypot_cost(root: Path) -> str:
    """Where the time of protecting goes, and what serving costs."""
    record = _read(root, "honeypot/cost")
    if not record:
        return ""
    whole = record["seconds"]["protecting"]["value"]
    spent = _table(
        ["CPU seconds", "", "share of protecting"],
        ([name, _interval(figure), f"{figure['value'] / whole:.0%}"] for name, figure in record["seconds"].items()),
    )
    kinds = ("nodes", "batch_1_ms", "batch_1_over_victim", "batch_64_ms", "batch_64_over_victim")
    served = _table(
        ["served by ONNX Runtime", "nodes of the graph", "ms, batch 1", "over the victim's", "ms, batch 64", "over the victim's"],
        ([name, *(f"{figures[kind]:.3g}" for kind in kinds)] for name, figures in record["serving"].items()),
    )
    return f"{spent}\n\n{served}"


CLAIMS = {
    "victim_accuracy": ("victim's accuracy", "{:.3f}"),
    "protected_accuracy_cost_points": ("accuracy that customers lose, points", "{:.2f}"),
    "accuracy_lost_points": ("points that the copies lose at equal queries, mean", "{:.1f}"),
    "accuracy_lost_points_most": ("… at the budget where it is most", "{:.1f}"),
    "accuracy_lost_points_least": ("… and least", "{:.1f}"),
    "query_factor": ("queries for the same accuracy, times as many", "{:.0f}"),
    "nats_per_query": ("entropy gained a query, nats", "{:.2f}"),
    "bits_per_query": ("the same in bits", "{:.2f}"),
    "kl_nats_per_query": ("KL(true ‖ served) a query, nats", "{:.2f}"),
    "kl_reverse_nats_per_query": ("KL(served ‖ true) a query, nats", "{:.2f}"),
    "label_only_accuracy_lost_points": ("points lost by a thief who reads labels", "{:.1f}"),
    "label_smoothing_accuracy_lost_points": ("… who smooths labels", "{:.1f}"),
    "partial_bayes_accuracy_lost_points": ("… by partial Bayes", "{:.1f}"),
    "inversion_accuracy_lost_points": ("… by inversion", "{:.1f}"),
}


def claims(root: Path) -> str:
    """What the reverse sigmoid takes from thieves, set by set; a factor that no budget reached is a lower bound."""
    found = {title: record for name, title in CLAIMED.items() if (record := _read(root, f"reverse_sigmoid/{name}"))}

    def cell(figures: Record, key: str, form: str) -> str:
        return ("at least " if key == "query_factor" and figures["query_factor_is_at_least"] else "") + _form(figures, key, form)

    rows = ([label, *(cell(record["headline"], key, form) for record in found.values())] for key, (label, form) in CLAIMS.items())
    return _table(["", *(f"{title}, {len(record['seeds'])} seeds" for title, record in found.items())], rows)


def curves(root: Path) -> str:
    """Accuracy of copies against queries, set by set; a column a defense and reading."""
    parts = []
    for name, title in CLAIMED.items():
        if record := _read(root, f"reverse_sigmoid/{name}"):
            drawn = record["summary"]["curves"]
            budgets = [point["queries"] for point in drawn[0]["points"]]
            found = [{point["queries"]: point["accuracy"] for point in curve["points"]} for curve in drawn]
            rows = ([f"{q:,}", *(_interval(curve.get(q)) for curve in found)] for q in budgets)
            parts.append(f"**{title}**\n\n" + _table(["queries", *(f"{c['defense']}, `{c['reading']}`" for c in drawn)], rows))
    return "\n\n".join(parts)


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
        *(["bare ONNX Runtime over MLServer"] if record["mlserver"] else []),
    ]
    rows = [
        [
            f"{case}, {key[1:]}",
            *("{per_second:.0f} ({p50_ms:.2g}, {p99_ms:.2g})".format(**found[side]) for side in sides),
            *("{median:.2f} [{low:.2f}, {high:.2f}], {processor:.2f}".format(**found["ratios"][side]) for side in sides if side != "full"),
            *(f"{found[name]:.2f}" for name in ("bare_over_mlserver",) if name in found),
        ]
        for case, cases in record["cases"].items()
        for key, found in cases.items()
        if key.startswith("c") and isinstance(found, dict) and "ratios" in found
    ]
    return _table(["images, connections", *columns], rows)


def memory(root: Path) -> str:
    """Resident memory over a million queries."""
    record = _read(root, "gateway/memory")
    if not record:
        return ""
    known = record["headline"]
    sizes = {"start": "at the start, MiB", "middle": "in the middle", "end": "at the end"}
    columns = ["clients", "queries", *sizes.values(), "slope over the second half, MiB a million queries"]
    found = [f"{known['clients']:,}", f"{known['queries']:,}", *(f"{known[f'{name}_mib']:.0f}" for name in sizes)]
    return _table(columns, [[*found, f"{known['slope_mib_per_million_queries']:.1f}"]])


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


def serving_costs(root: Path) -> str:
    """What each output defense adds to the time of an answer, and how far it is from the least that it could take."""
    record = _read(root, "bench/perturbation")
    if not record:
        return ""
    columns = {"batch_1": "{:.2f}", "batch_64": "{:.2f}", "batch_1_added_microseconds": "{:.0f}", "batch_64_added_microseconds": "{:.0f}"}
    rows = (
        [f"`{name}`", *(_form(costs, key, form) for key, form in columns.items()), _form(record.get("over_the_limit", {}), name, "{:.0f}")]
        for name, costs in record["serving_cost"].items()
    )
    return _table(["time over undefended", "batch 1", "batch 64", "added at batch 1, µs", "at batch 64, µs", "over the limit"], rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "results": results,
    "queries": queries,
    "answers": answers,
    "strongest": strongest,
    "laundering": laundering,
    "honeypots": honeypots,
    "honeypot_attacks": honeypot_attacks,
    "honeypot_matrix": honeypot_matrix,
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
