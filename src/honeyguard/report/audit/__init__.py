"""The page of an audit: how stealable an API is, what that costs a thief, and what to do."""

from collections.abc import Mapping
from typing import Any

from honeyguard.report.audit import advice, panels, plots, words
from honeyguard.report.audit.view import AuditView

KIND = "audit"
TEMPLATE = "audit/page.html.j2"
REQUIRED = {
    "seeds": list,
    "headline": Mapping,
    "arguments": Mapping,
    "oracle": Mapping,
    "queries": Mapping,
    "curves": list,
    "levels": list,
    "comparisons": list,
    "environment": Mapping,
}


def content(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows."""
    view = AuditView(record)
    return {
        "view": view,
        "outcome": words.outcome(view),
        "grade": words.grade(view),
        "grades": words.GRADES,
        "sentences": words.story(view),
        "cards": panels.cards(view),
        "fidelity": plots.curves(view, "fidelity"),
        "accuracy": plots.curves(view, "accuracy"),
        "next_steps": advice.next_steps(view),
        "catalogue": advice.catalogue(view),
    }
