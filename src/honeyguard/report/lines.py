"""Curves of what thieves get against what they ask, as Plotly's own JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from honeyguard.report.figures import Line
from honeyguard.report.plots import SERIES, SYMBOLS, annotate, escaped, themed, whiskers
from honeyguard.report.view import View

APART = 1.018  # factor between the marks of two curves at the same queries, so that whiskers don't cover each other


def lines(
    rows: Sequence[Line], measure: str, levels: Sequence[tuple[float, str]], ticks: Mapping[float, str], below: str
) -> dict[str, Any] | None:
    """A share against queries, with intervals; None where it wasn't measured.

    Args:
        measure: name of the share.
        levels: values worth a line of their own, and what they are.
        ticks: what to write at which queries.
        below: title of the axis of queries.
    """
    known = [figure for row in rows for figure in row.figures if figure.known]
    if not known:
        return None
    plot = go.Figure()
    for i, row in enumerate(rows):
        colour, shift = f"var(--series-{(i + 1) % SERIES + 1})", APART ** (i - (len(rows) - 1) / 2)
        look = {"color": colour, "size": 9, "symbol": SYMBOLS[i % len(SYMBOLS)], "line": {"color": "var(--card)", "width": 1}}
        places, values = [q * shift for q in row.queries], [figure.value for figure in row.figures]
        plot.add_scatter(name=escaped(row.title), mode="lines+markers", x=places, y=values)
        plot.data[-1].update(marker=look, line={"color": colour, "width": 2}, error_y=whiskers(row.figures, colour))
        text = [f"{q:,.0f} queries" for q in row.queries]
        plot.data[-1].update(text=text, hovertemplate="%{fullData.name}<br>%{text}: %{y:.1%}<extra></extra>")
    lowest = min(figure.low if figure.has_interval else figure.value for figure in known)
    least = max(0.0, 0.1 * int(10 * lowest))
    for value, name in levels:
        if value >= least:
            plot.add_hline(y=value, line={"dash": "dot", "color": "var(--muted)", "width": 1.2})
            annotate(plot, name, xref="paper", x=0, y=value, yanchor="bottom")
    annotate(plot, f"↑ {measure}", xref="paper", yref="paper", x=0, y=1, yanchor="bottom", yshift=6)
    plot.update_layout(height=470, margin={"l": 0, "r": 12, "t": 30, "b": 0}, legend={"orientation": "h", "y": -0.28, "x": 0})
    plot.update_xaxes(type="log", tickvals=list(ticks), ticktext=list(ticks.values()), automargin=True)
    plot.update_xaxes(title={"text": below, "standoff": 8, "font": {"size": 13}})
    plot.update_yaxes(range=[least, 1.01], tickformat=".0%", automargin=True)
    return themed(plot, x_form=None)


def queries(view: View) -> dict[str, Any] | None:
    """Accuracy of copies against queries, a line a defense and reading; None where the suite has no such curves."""
    levels = [(view.victim_accuracy.value, "the victim’s accuracy")] if view.victim_accuracy.known else []
    ticks = {q: f"{q:,.0f}" for row in view.curves for q in row.queries}
    return lines(view.curves, "accuracy", levels, ticks, "queries →")
