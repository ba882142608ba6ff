"""A record as one self-contained HTML page that works offline, in light and dark, on paper and on a phone."""

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from plotly.offline import get_plotlyjs

from honeyguard.errors import ArtifactError
from honeyguard.report import advice, audit, figures, panels, plots, tuning, words
from honeyguard.report.lines import queries
from honeyguard.report.view import View

SCHEMA = 1
REQUIRED = {"suite": Mapping, "seeds": list, "headline": Mapping, "summary": Mapping, "stories": list, "environment": Mapping}


def render(result: Mapping[str, Any]) -> str:
    """The page of a record, as `honeyguard.benchmark.run` makes it, with or without `pictures`, or of an audit; a pure function.

    With pictures the page shows the trigger, which is part of the owner key: keep it as secret as the key.
    Raises: ArtifactError: no record, a part of it is missing, or a newer version wrote it.
    Example: `Path("report.html").write_text(render(json.loads(Path("results/demo.json").read_text())))`
    """
    check(result)
    try:
        if page := _special(result):
            return _page(page.TEMPLATE, result, **page.content(result))
        return _page("page.html.j2", result, **_content(View(result)))
    except (KeyError, UndefinedError) as error:
        raise _damaged(f"one that lacks a part ({error})") from error


def check(result: Mapping[str, Any]) -> None:
    """Raises: ArtifactError: `result` is no record that this version can read."""
    if not isinstance(result, Mapping) or not isinstance(result.get("schema"), int):
        raise _damaged("something without a schema version")
    if result["schema"] > SCHEMA:
        do = "Update Honeyguard, or render it with the version that made it."
        raise ArtifactError(f"a record of schema {SCHEMA} or older", f"schema {result['schema']}", do)
    page = _special(result)
    for name, kind in (page.REQUIRED if page else REQUIRED).items():
        if not isinstance(result.get(name), kind) or not (result[name] or name in {"headline", "comparisons"}):
            raise _damaged(f"one without {name!r}")


def _special(result: Mapping[str, Any]) -> ModuleType | None:
    """The page of a record that isn't a benchmark's."""
    return next((page for page in (audit, tuning) if result.get("kind") == page.KIND), None)


def _damaged(got: str) -> ArtifactError:
    return ArtifactError("a record of a benchmark, demo or audit", got, "Make it again with the command that made it.")


def _page(template: str, record: Mapping[str, Any], **content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("honeyguard.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "share": figures.share_with_interval,
        "bare_share": figures.share,
        "points": figures.points_with_interval,
        "decimal": figures.decimal_with_interval,
        "bare_decimal": figures.decimal,
        "p_value": figures.p_value,
        "whole": figures.whole,
        "level": figures.level,
        "money": figures.money,
        "counted": figures.counted,
        "script": _script,
    }
    return environment.get_template(template).render(record=record, plotly=get_plotlyjs(), **content)


def _content(view: View) -> dict[str, Any]:
    return {
        "view": view,
        "outcome": words.outcome(view),
        "sentences": words.story(view),
        "cards": panels.cards(view),
        "fidelity_notes": panels.fidelity_notes(view),
        "next_steps": advice.next_steps(view),
        "catalogue": advice.catalogue(view),
        "customer": panels.customer(view),
        "success": plots.success(view),
        "copies": plots.copies(view),
        "queries": queries(view),
        "symbols": plots.symbols(view),
    }


def _script(plot: dict[str, Any]) -> str:
    """JSON that is safe inside a script element."""
    return json.dumps(plot, allow_nan=False, sort_keys=True).replace("<", "\\u003c").replace("&", "\\u0026")
