"""The plots, as Plotly's own JSON. Colours are CSS variables, which the page resolves for light and dark."""

from typing import Any

import plotly.graph_objects as go

from honeyguard.report.figures import Figure, percent, title
from honeyguard.report.view import Theft, View

SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "star")
SERIES = 6
ROW, MARGIN = 50, 46


def success(view: View) -> dict[str, Any] | None:
    """Bars of the trigger's success in thieves and controls, with intervals; None where neither was measured."""
    thieves = [(theft.title, theft.asr) for theft in view.stolen if theft.asr.known]
    controls = [(control.title, control.asr) for control in view.controls if control.asr.known]
    if not thieves and not controls:
        return None
    plot = go.Figure()
    for group, colour, rows in (("thieves", "var(--thief)", thieves), ("controls", "var(--control)", controls)):
        rates = [rate for _, rate in rows]
        places = [f"{group}: {label}" for label, _ in rows]
        hover = "%{y}: %{x:.1%}<extra></extra>"
        plot.add_bar(name=group, y=places, x=[rate.value for rate in rates], orientation="h", width=0.36, hovertemplate=hover)
        plot.data[-1].update(marker_color=colour, error_x=whiskers(rates, "var(--ink)"))
        for place, (label, rate) in zip(places, rows, strict=True):
            end = min(rate.high, 1) if rate.has_interval else rate.value
            annotate(plot, escaped(label), x=0, y=place, yanchor="bottom", yshift=10)
            annotate(plot, f"<b>{percent(rate.value)}</b>", x=end, y=place, xshift=6)
    order = [place for bars in plot.data for place in bars.y]
    plot.update_layout(height=ROW * len(order) + MARGIN, barmode="overlay", showlegend=False, margin={"l": 14, "r": 8, "t": 18, "b": 28})
    plot.update_yaxes(visible=False, autorange="reversed", categoryorder="array", categoryarray=order)
    plot.update_xaxes(range=[0, 1.14], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return themed(plot)


def copies(view: View) -> dict[str, Any] | None:
    """Accuracy of the substitutes against their fidelity, a colour a defense and a symbol a thief."""
    thefts = [theft for theft in view.thefts if theft.accuracy.known and theft.fidelity.known]
    if not thefts:
        return None
    plot, symbol = go.Figure(), dict(symbols(view))
    for i, defense in enumerate(view.defenses):
        mine = [theft for theft in thefts if theft.defense == defense.name]
        colour = f"var(--series-{i % SERIES + 1})"
        plot.add_scatter(name=escaped(defense.title), mode="markers", **_places(mine, colour))
        marker = {"size": 12, "color": colour, "line": {"color": "var(--card)", "width": 1}}
        plot.data[-1].update(marker=marker | {"symbol": [symbol[title(theft.thief)] for theft in mine]})
    victim = view.victim_accuracy
    if victim.known:
        plot.add_hline(y=victim.value, line={"dash": "dot", "color": "var(--muted)", "width": 1.5})
        annotate(plot, "the victim’s accuracy", xref="paper", x=0, y=victim.value, yanchor="bottom")
    annotate(plot, "↑ accuracy", xref="paper", yref="paper", x=0, y=1, yanchor="bottom", yshift=6)
    plot.update_layout(height=440, margin={"l": 0, "r": 12, "t": 30, "b": 0}, legend={"orientation": "h", "y": -0.2, "x": 0})
    plot.update_xaxes(title={"text": "fidelity →", "standoff": 8, "font": {"size": 13}}, automargin=True)
    plot.update_yaxes(tickformat=".0%", automargin=True)
    return themed(plot)


def symbols(view: View) -> list[tuple[str, str]]:
    """The name of each thief and its symbol in `copies`."""
    thieves = dict.fromkeys(theft.thief for theft in view.thefts)
    return [(title(thief), SYMBOLS[i % len(SYMBOLS)]) for i, thief in enumerate(thieves)]


def _places(thefts: list[Theft], colour: str) -> dict[str, Any]:
    fidelity, accuracy = [theft.fidelity for theft in thefts], [theft.accuracy for theft in thefts]
    return {
        "x": [figure.value for figure in fidelity],
        "y": [figure.value for figure in accuracy],
        "error_x": whiskers(fidelity, colour),
        "error_y": whiskers(accuracy, colour),
        "text": [escaped(title(theft.thief)) for theft in thefts],
        "hovertemplate": "%{fullData.name}, %{text}<br>fidelity %{x:.1%}, accuracy %{y:.1%}<extra></extra>",
    }


def whiskers(figures: list[Figure], colour: str) -> dict[str, Any]:
    """Plotly's error bars, cut at 0 and 1."""
    up = [min(figure.high, 1) - figure.value if figure.has_interval else 0 for figure in figures]
    down = [figure.value - max(figure.low, 0) if figure.has_interval else 0 for figure in figures]
    look = {"color": colour, "thickness": 1.4, "width": 4}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "visible": any(up + down), **look}


def annotate(plot: go.Figure, text: str, **place: Any) -> None:
    plot.add_annotation(text=text, showarrow=False, xanchor="left", **place)


def escaped(text: str) -> str:
    """Plotly reads a little HTML in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def themed(plot: go.Figure, *, x_form: str | None = ".0%") -> dict[str, Any]:
    """Plotly's JSON in the page's colours; x is a share unless `x_form` says otherwise, None being Plotly's own choice."""
    clear, line = "rgba(0,0,0,0)", "var(--line)"
    font = {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": "var(--ink)"}
    hover = {"bgcolor": "var(--card)", "bordercolor": line, "font": {"color": "var(--ink)"}}
    plot.update_layout(template="none", paper_bgcolor=clear, plot_bgcolor=clear, font=font, hoverlabel=hover, dragmode=False)
    axis = {"gridcolor": line, "zerolinecolor": line, "linecolor": line, "tickfont": {"color": "var(--muted)"}, "fixedrange": True}
    plot.update_xaxes(tickformat=x_form, **axis)
    plot.update_yaxes(**axis)
    return dict(plot.to_plotly_json())
