"""Tables of docs/thieves.md."""

from collections.abc import Callable
from pathlib import Path

from tables.shared import ATTACKS, Record, formatted, interval, markdown, record_of


def queries(root: Path) -> str:
    """Fidelity of every query strategy, set by set: pool and budget across."""
    return _attacks(root, _queries_of)


def _queries_of(thefts: list[Record]) -> str:
    chosen = [t for t in thefts if t["defense"] == "none" and (t["thief"]["answer"], t["thief"]["training"]) == ("as_given", "supervised")]
    columns = sorted({(t["thief"]["pool"], t["thief"]["queries"]) for t in chosen})
    found = {(t["thief"]["query"], t["thief"]["pool"], t["thief"]["queries"]): t["fidelity"] for t in chosen}
    names = list(dict.fromkeys(t["thief"]["query"] for t in chosen))
    rows = ([f"`{name}`", *(interval(found.get((name, *column))) for column in columns)] for name in names)
    return markdown(["fidelity", *(f"{budget} of {pool.replace('_', ' ')}" for pool, budget in columns)], rows)


def answers(root: Path) -> str:
    """Accuracy of copies by how the answers were read, set by set: defenses across, the strongest thief of each in bold."""
    return _attacks(root, _answers_of)


def _answers_of(thefts: list[Record]) -> str:
    found = by_reading(thefts)
    defenses, readings = (list(dict.fromkeys(pair[i] for pair in found)) for i in (1, 0))
    rows = ([f"`{reading}`", *(best_in_bold(found, reading, d) for d in defenses)] for reading in readings)
    return markdown(["accuracy of the copy", *defenses], rows)


def by_reading(thefts: list[Record]) -> dict[tuple[str, str], Record]:
    """The copy's accuracy by reading and defense, at the budgets at which defenses were attacked."""
    budgets = {(t["thief"]["pool"], t["thief"]["queries"]) for t in thefts if t["defense"] != "none"}
    found: dict[tuple[str, str], Record] = {}
    for t in thefts:
        thief = t["thief"]
        if (thief["pool"], thief["queries"]) in budgets and thief["query"] in {"random", "repeated"}:
            parts = [thief["answer"].partition("(")[0], *({thief["training"]} - {"supervised"}), *({thief["query"]} - {"random"})]
            found[" + ".join(p for p in parts if len(parts) == 1 or p != "as_given"), t["defense"]] = t["accuracy"]
    return found


def best_of(found: dict[tuple[str, str], Record], defense: str) -> float:
    return max(float(figure["value"]) for (_, other), figure in found.items() if other == defense)


def best_in_bold(found: dict[tuple[str, str], Record], reading: str, defense: str) -> str:
    figure = found.get((reading, defense))
    text = interval(figure)
    return f"**{text}**" if figure and figure["value"] == best_of(found, defense) else text


def laundering(root: Path) -> str:
    """What each laundering leaves of a copy."""
    record = record_of(root, "attacks/laundering")
    if not record:
        return ""
    figures = record["headline"]
    names = [key.removeprefix("asr_after_") for key in figures if key.startswith("asr_after_")]
    rows = (
        [name.replace("_", " "), *(formatted(figures, f"{kind}_after_{name}", "{:.1%}") for kind in ("asr", "accuracy", "convicted"))]
        for name in names
    )
    return markdown([f"after, {len(record['seeds'])} seeds", "ASR", "clean accuracy", "still convicted"], rows)


def _attacks(root: Path, render: Callable[[list[Record]], str]) -> str:
    parts = []
    for name, title in ATTACKS.items():
        if record := record_of(root, f"attacks/{name}"):
            thefts = [t for t in record["summary"]["thefts"].values() if not t["laundering"]]
            accuracy = record["headline"]["victim_accuracy"]
            parts.append(f"**{title}**, {len(record['seeds'])} seeds, victim's accuracy {accuracy:.3f}\n\n{render(thefts)}")
    return "\n\n".join(parts)
