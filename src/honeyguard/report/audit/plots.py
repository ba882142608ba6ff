"""The curves of an audit: what thieves get for their queries and their money."""

from typing import Any

from honeyguard.report.audit.view import AuditView
from honeyguard.report.figures import Figure, Line, money, percent, whole
from honeyguard.report.lines import lines
from honeyguard.report.plots import escaped


def curves(view: AuditView, measure: str) -> dict[str, Any] | None:
    """Fidelity or accuracy against queries (and their price), with intervals, a line a thief; None where it wasn't measured."""
    rows = [Line(c.title, [p.queries.value for p in c.points], [getattr(p, measure) for p in c.points]) for c in view.curves]
    ticks = {point.queries.value: _tick(point.queries, point.dollars) for point in view.budgets}
    return lines(rows, measure, _levels(view, measure), ticks, "queries and their price →" if view.priced else "queries →")


def _levels(view: AuditView, measure: str) -> list[tuple[float, str]]:
    """Levels worth a line of their own."""
    if measure == "fidelity":
        return [(view.commonest.value, f"always the commonest answer: {percent(view.commonest.value)}")]
    accuracy = view.estimate("oracle", "accuracy")
    return [(accuracy.value, f"the API itself: {percent(accuracy.value)}")] if accuracy.known else []


def _tick(queries: Figure, dollars: Figure) -> str:
    shown = [whole(queries)] + ([money(dollars)] if dollars.known else [])
    return "<br>".join(escaped(line.striptags()) for line in shown)
