"""The pictures of docs/, as SVG, from results/*.json; pure functions of the records."""

from collections.abc import Callable
from html import escape
from pathlib import Path

from tables.shared import Record, record_of

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 260, 46, 170, 14, 52
COLOURS = ("#2a78d6", "#e07b00", "#1f9e6e", "#a355c8", "#8a8a8a")
INK = "#808080"  # readable on light and dark pages
CONTROL = "innocent models"


def knob(name: str) -> Callable[[Path], str]:
    """ASR of copies and of innocent models at each setting of one of the honeypot's knobs, and what the setting costs customers."""

    def draw(root: Path) -> str:
        settings: dict[str, Record] = (record_of(root, "honeypot/ablations") or {"knobs": {}})["knobs"].get(name, {})
        if not settings:
            return ""
        names = dict.fromkeys(key for figures in settings.values() for key in figures if key.startswith("asr: "))
        lines = {key.removeprefix("asr: "): [figures.get(key) for figures in settings.values()] for key in [*names, CONTROL]}
        return chart([(setting, f"{figures['cost_points']['value']:.1f} points") for setting, figures in settings.items()], lines)

    return draw


def chart(ticks: list[tuple[str, str]], lines: dict[str, list[Record | None]]) -> str:
    """Shares with their intervals over categories; a tick has two rows of text, and a line has no point where there is no figure."""
    step = (WIDTH - LEFT - RIGHT) / len(ticks)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="{INK}">'
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _y(share)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-opacity=".3"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for i, rows in enumerate(ticks):
        for j, row in enumerate(rows):
            x, y = LEFT + (i + 0.5) * step, HEIGHT - BOTTOM + 18 + 16 * j
            parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escape(row)}</text>')
    for place, (name, figures) in enumerate(lines.items()):
        colour = COLOURS[place if name != CONTROL else -1]
        shift = LEFT + 0.5 * step + 7 * (place - (len(lines) - 1) / 2)  # beside each other, so that no interval hides another
        points = [(shift + i * step, figure) for i, figure in enumerate(figures) if figure]
        path = " ".join(f"{x:.1f},{_y(figure['value']):.1f}" for x, figure in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-opacity=".5"/>')
        for x, figure in points:
            parts.append(f'<path d="M{x:.1f} {_y(figure["low"]):.1f}V{_y(figure["high"]):.1f}" stroke="{colour}" stroke-width="2"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{_y(figure["value"]):.1f}" r="4" fill="{colour}"/>')
        parts.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{TOP + 8 + 20 * place}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 26}" y="{TOP + 12 + 20 * place}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(share, 0.0), 1.0))


PICTURES: dict[str, Callable[[Path], str]] = {
    "honeypot_depth": knob("depth"),
    "honeypot_carriers": knob("carriers"),
    "honeypot_share": knob("share"),
    "honeypot_weight": knob("weight"),
    "honeypot_lambda": knob("λ"),
    "honeypot_trigger": knob("trigger"),
    "honeypot_patch": knob("published patch"),
    "honeypot_rounds": knob("rounds"),
    "honeypot_shadow_set": knob("shadow set"),
    "honeypot_queries": knob("queries"),
    "honeypot_answers": knob("answers"),
    "honeypot_keep_top1": knob("keep_top1"),
}
