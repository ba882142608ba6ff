"""Figures as text: rounded for people, with the full value and its place in the record beside it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from honeyguard.stats import Estimate, mean

MISSING = "not measured"


@dataclass(frozen=True)
class Figure:
    """A number of the record with its interval.

    Args:
        value, low, high: NaN where the record has none.
        source: JSON Pointer (RFC 6901) of `value` in the record; empty for a figure that the page works out itself.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    source: str = ""

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high


NOTHING = Figure(math.nan)


@dataclass(frozen=True)
class Line:
    """One curve: a figure for each number of queries."""

    title: str
    queries: list[float]
    figures: list[Figure]


def number(value: object) -> float:
    """A number as it stands in JSON; NaN for null and for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def pointer(*path: str | int) -> str:
    """The JSON Pointer of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def average(values: list[float]) -> Figure:
    """The mean of those that are numbers, with its interval when they are several."""
    known = [value for value in values if math.isfinite(value)]
    estimate = mean(known) if known else Estimate(math.nan, math.nan, math.nan, 0)
    return Figure(estimate.value, estimate.low, estimate.high) if len(known) > 1 else Figure(estimate.value)


def extremes(figures: list[Figure]) -> tuple[Figure, Figure]:
    """The smallest and the largest of those that are numbers."""
    known = sorted((figure for figure in figures if figure.known), key=lambda figure: figure.value) or [NOTHING]
    return known[0], known[-1]


def share(figure: Figure) -> Markup:
    """0.8212 -> 82.1%."""
    return _marked(figure, percent)


def points(figure: Figure) -> Markup:
    """14.61 -> 14.6 points."""
    return _marked(figure, lambda value: f"{plain(value, 1)} point{'' if abs(round(value, 1)) == 1 else 's'}")


def decimal(figure: Figure, digits: int = 2) -> Markup:
    return _marked(figure, lambda value: plain(value, digits))


def whole(figure: Figure) -> Markup:
    """2400.0 -> 2,400."""
    return _marked(figure, lambda value: f"{value:,.0f}")


def level(figure: Figure) -> Markup:
    """0.95 -> 95%, for shares that are round."""
    return _marked(figure, lambda value: f"{100 * value:.6g}%")


def money(figure: Figure) -> Markup:
    """1234.5 -> $1,234.50; 0.002 -> <$0.01."""
    return _marked(figure, lambda value: "<$0.01" if 0 < value < 0.005 else f"${value:,.2f}")


def p_value(figure: Figure) -> Markup:
    """0.0532 -> 0.053; 0.0000021 -> 2.1 × 10⁻⁶."""
    return _marked(figure, probability)


def interval(figure: Figure, shown: Callable[[float], str]) -> Markup:
    """The 95 % interval in small type, or nothing."""
    if not figure.known or not figure.has_interval:
        return Markup("")
    return Markup(' <span class="interval">{}</span>').format(f"{shown(figure.low)} to {shown(figure.high)}")


def share_with_interval(figure: Figure) -> Markup:
    return share(figure) + interval(figure, lambda value: percent(min(max(value, 0), 1)))


def points_with_interval(figure: Figure) -> Markup:
    return decimal(figure, 1) + interval(figure, lambda value: plain(value, 1))


def decimal_with_interval(figure: Figure) -> Markup:
    return decimal(figure) + interval(figure, lambda value: plain(value, 2))


def between(low: Figure, high: Figure) -> Markup:
    """Two shares as a range, or as one where they round to the same."""
    return share(low) if percent(low.value) == percent(high.value) else Markup("{} to {}").format(share(low), share(high))


def percent(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    text = f"{100 * value:.1f}%"
    return {"100.0%": "100%" if value == 1 else ">99.9%", "0.0%": "0%" if value == 0 else "<0.1%"}.get(text, text)


def plain(value: float, digits: int) -> str:
    """A number with a true minus and without a minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") if math.isfinite(value) else MISSING


def probability(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "<10⁻³⁰⁰"
    if value >= 0.001:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def counted(count: int, one: str, many: str = "") -> str:
    """1 model, 2 models; `many` is `one` with an s unless given."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def title(name: str) -> str:
    """A name of the suite for reading."""
    return name.replace("_", " ")


def _marked(figure: Figure, shown: Callable[[float], str]) -> Markup:
    if not figure.known:
        return Markup('<span class="missing">{}</span>').format(MISSING)
    if not figure.source:
        return Markup("<span>{}</span>").format(shown(figure.value))
    mark = Markup('<data data-figure="{}" data-value="{}" value="{}">{}</data>')
    return mark.format(figure.source, repr(figure.value), repr(figure.value), shown(figure.value))


def tallied(name: str, count: int) -> Markup:
    """A count that the page works out from the verdicts."""
    return Markup('<data data-count="{}" data-value="{}" value="{}">{}</data>').format(name, count, count, count)
