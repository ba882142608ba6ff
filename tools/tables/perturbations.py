"""Tables of docs/perturbations.md."""

from pathlib import Path

from tables.shared import ATTACKS, Record, formatted, interval, markdown, record_of
from tables.thieves import best_in_bold, best_of, by_reading

CLAIMED = {"mnist": "MNIST", "cifar10": "CIFAR-10 (WebP copies)"}


def strongest(root: Path) -> str:
    """Every perturbation against every reading within the same promises, set by set: the strongest thief of each in bold."""
    parts = []
    for name, title in ATTACKS.items():
        if record := record_of(root, f"perturbations/{name}"):
            found, served = by_reading(list(record["summary"]["thefts"].values())), record["summary"]["defenses"]
            readings = list(dict.fromkeys(reading for reading, _ in found))
            best = {d: best_of(found, d) for d in served}
            rows = (
                [f"`{d}`", f"{served[d]['distortion']['l1']['value']:.2f}", *(best_in_bold(found, reading, d) for reading in readings)]
                for d in sorted(served, key=lambda d: (d != "none", best[d]))
            )
            accuracy = record["headline"]["victim_accuracy"]
            table = markdown(["accuracy of the copy", "mean L1", *(f"`{reading}`" for reading in readings)], rows)
            parts.append(f"**{title}**, {len(record['seeds'])} seeds, victim's accuracy {accuracy:.3f}\n\n{table}")
    return "\n\n".join(parts)


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
    found = {title: record for name, title in CLAIMED.items() if (record := record_of(root, f"reverse_sigmoid/{name}"))}

    def cell(figures: Record, key: str, form: str) -> str:
        return ("at least " if key == "query_factor" and figures["query_factor_is_at_least"] else "") + formatted(figures, key, form)

    rows = ([label, *(cell(record["headline"], key, form) for record in found.values())] for key, (label, form) in CLAIMS.items())
    return markdown(["", *(f"{title}, {len(record['seeds'])} seeds" for title, record in found.items())], rows)


def curves(root: Path) -> str:
    """Accuracy of copies against queries, set by set; a column a defense and reading."""
    parts = []
    for name, title in CLAIMED.items():
        if record := record_of(root, f"reverse_sigmoid/{name}"):
            drawn = record["summary"]["curves"]
            budgets = [point["queries"] for point in drawn[0]["points"]]
            found = [{point["queries"]: point["accuracy"] for point in curve["points"]} for curve in drawn]
            rows = ([f"{q:,}", *(interval(curve.get(q)) for curve in found)] for q in budgets)
            parts.append(f"**{title}**\n\n" + markdown(["queries", *(f"{c['defense']}, `{c['reading']}`" for c in drawn)], rows))
    return "\n\n".join(parts)


def serving_costs(root: Path) -> str:
    """What each output defense adds to the time of an answer, and how far it is from the least that it could take."""
    record = record_of(root, "bench/perturbation")
    if not record:
        return ""
    columns = {"batch_1": "{:.2f}", "batch_64": "{:.2f}", "batch_1_added_microseconds": "{:.0f}", "batch_64_added_microseconds": "{:.0f}"}
    rows = (
        [
            f"`{name}`",
            *(formatted(costs, key, form) for key, form in columns.items()),
            formatted(record.get("over_the_limit", {}), name, "{:.0f}"),
        ]
        for name, costs in record["serving_cost"].items()
    )
    return markdown(["time over undefended", "batch 1", "batch 64", "added at batch 1, µs", "at batch 64, µs", "over the limit"], rows)
