"""The page of a tuning: what each strength of a perturbation costs customers, and where the budget ends."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from honeyguard.report.plots import SERIES, SYMBOLS, themed

KIND = "tuning"
TEMPLATE = "tuning.html.j2"
REQUIRED = {"parameter": str, "budget": Mapping, "defense": str, "cost": Mapping, "curve": list, "environment": Mapping}
NAMES = {
    "top1_lost": "top class changed (share of answers)",
    "l1": "L1 distance of answers",
    "nats": "KL(true ‖ given), nats",
    "calibration_error": "expected calibration error",
}


def content(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows."""
    return {"names": NAMES, "trade_off": _trade_off(record)}


def _trade_off(record: Mapping[str, Any]) -> dict[str, Any]:
    """Each cost against the strength; what the budget allows is dotted."""
    plot = go.Figure()
    strengths = [point["strength"] for point in record["curve"]]
    for i, (name, title) in enumerate(NAMES.items()):
        colour = f"var(--series-{i % SERIES + 1})"
        costs = [point[name] for point in record["curve"]]
        plot.add_scatter(name=title, mode="lines+markers", x=strengths, y=costs)
        plot.data[-1].update(marker={"color": colour, "size": 8, "symbol": SYMBOLS[i]}, line={"color": colour, "width": 2})
        if (limit := record["budget"].get(name)) is not None:
            plot.add_hline(y=limit, line={"dash": "dot", "color": colour, "width": 1.5})
    plot.update_layout(height=440, margin={"l": 0, "r": 12, "t": 12, "b": 0}, legend={"orientation": "h", "y": -0.24, "x": 0})
    plot.update_xaxes(title={"text": f"{record['parameter']} →", "standoff": 8, "font": {"size": 13}}, automargin=True)
    plot.update_yaxes(automargin=True)
    return themed(plot, x_form=None)
