"""Tables of docs/honeypot.md."""

from collections.abc import Callable
from pathlib import Path

from tables.shared import ATTACKS, Record, formatted, interval, markdown, record_of

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
    found = {name: record for name in ATTACKS if (record := record_of(root, f"honeypot/{name}"))}
    columns = [(record["headline"], suffix) for record in found.values() for suffix in ("", "_paper")]
    titles = (f"{ATTACKS[name]}, {len(record['seeds'])} seeds{kind}" for name, record in found.items() for kind in ("", ": published"))
    rows = (
        [label, *(formatted(figures, key + ("" if key == "victim_accuracy" else suffix), form) for figures, suffix in columns)]
        for key, (label, form) in HONEYPOTS.items()
    )
    return markdown(["", *titles], rows)


def honeypot_attacks(root: Path) -> str:
    """Every attack on every set: ASR on the copy under the default and the published method, and how good the copy is."""
    parts = []
    for name, title in ATTACKS.items():
        if record := record_of(root, f"honeypot/{name}"):
            thefts = record["summary"]["thefts"].values()
            found = {(t["thief"]["name"], t["defense"]): t for t in thefts}
            rows = (
                [
                    attack,
                    *(interval(_own(found, attack, d)) for d in ("honeypot", "paper")),
                    interval(found[attack, "honeypot"]["fidelity"]),
                ]
                for attack in dict.fromkeys(attack for attack, defense in found if defense == "honeypot")
            )
            table = markdown(["attack", "ASR", "ASR, published method", "fidelity of the copy"], rows)
            parts.append(f"**{title}**, {len(record['seeds'])} seeds\n\n{table}")
    return "\n\n".join(parts)


def honeypot_thieves(name: str) -> Callable[[Path], str]:
    """The thieves of one suite, its honeypots side by side: ASR on the copies, and how good the copies of the first one are."""

    def render(root: Path) -> str:
        record = record_of(root, f"honeypot/{name}")
        if not record:
            return ""
        found = {(t["thief"]["name"], t["defense"]): t for t in record["summary"]["thefts"].values()}
        defenses = list(dict.fromkeys(defense for _, defense in found))
        head = ["thief", *("ASR" if len(defenses) == 1 else f"ASR, {defense}" for defense in defenses), "fidelity of the copy"]
        rows = (
            [thief, *(interval(_own(found, thief, defense)) for defense in defenses), interval(found[thief, defenses[0]]["fidelity"])]
            for thief in dict.fromkeys(thief for thief, _ in found)
        )
        return markdown(head, rows)

    return render


def _own(found: dict[tuple[str, str], Record], attack: str, defense: str) -> Record | None:
    return found[attack, defense]["asr"][defense] if (attack, defense) in found else None


def honeypot_matrix(root: Path) -> str:
    """ASR on copies by the network that the owner simulated thefts with (rows) and the one that the thief trained."""
    record = record_of(root, "honeypot/ablations")
    if not record or not record["matrix"]:
        return ""
    thieves = [key for key in next(iter(record["matrix"].values())) if key.startswith("asr: ")]
    rows = ([f"`{shadow}`", *(interval(figures[key]) for key in thieves)] for shadow, figures in record["matrix"].items())
    return markdown(["shadow model", *(f"thief `{key.removeprefix('asr: ')}`" for key in thieves)], rows)


def honeypot_cost(root: Path) -> str:
    """Where the time of protecting goes, and what serving costs."""
    record = record_of(root, "honeypot/cost")
    if not record:
        return ""
    whole = record["seconds"]["protecting"]["value"]
    spent = markdown(
        ["CPU seconds", "", "share of protecting"],
        ([name, interval(figure), f"{figure['value'] / whole:.0%}"] for name, figure in record["seconds"].items()),
    )
    kinds = ("nodes", "batch_1_ms", "batch_1_over_victim", "batch_64_ms", "batch_64_over_victim")
    served = markdown(
        ["served by ONNX Runtime", "nodes of the graph", "ms, batch 1", "over the victim's", "ms, batch 64", "over the victim's"],
        ([name, *(f"{figures[kind]:.3g}" for kind in kinds)] for name, figures in record["serving"].items()),
    )
    return f"{spent}\n\n{served}"
