"""A record as one self-contained HTML page that works offline, in light and dark, on paper and on a phone."""

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from plotly.offline import get_plotlyjs

from honeyguard.errors import ArtifactError
from honeyguard.report import advice, figures, panels, plots, words
from honeyguard.report.view import View

SCHEMA = 1
REQUIRED = {"suite": Mapping, "seeds": list, "headline": Mapping, "summary": Mapping, "stories": list, "environment": Mapping}


def render(result: Mapping[str, Any]) -> str:
    """The page of a record, as `honeyguard.benchmark.run` makes it, with or without `pictures`; a pure function.

    With pictures the page shows the trigger, which is part of the owner key: keep it as secret as the key.
    Raises: ArtifactError: no record, a part of it is missing, or a newer version wrote it.
    Example: `Path("report.html").write_text(render(json.loads(Path("results/demo.json").read_text())))`
    """
    check(result)
    view = View(result)
    try:
        return _page(view)
    except (KeyError, UndefinedError) as error:
        raise _damaged(f"one that lacks a part ({error})") from error


def check(result: Mapping[str, Any]) -> None:
    """Raises: ArtifactError: `result` is no record that this version can read."""
    if not isinstance(result, Mapping) or not isinstance(result.get("schema"), int):
        raise _damaged("something without a schema version")
    if result["schema"] > SCHEMA:
        do = "Update Honeyguard, or render it with the version that made it."
        raise ArtifactError(f"a record of schema {SCHEMA} or older", f"schema {result['schema']}", do)
    for name, kind in REQUIRED.items():
        if not isinstance(result.get(name), kind) or not (result[name] or name == "headline"):
            raise _damaged(f"one without {name!r}")


def _damaged(got: str) -> ArtifactError:
    return ArtifactError("a record of a benchmark or demo run", got, "Make it again with honeyguard benchmark or honeyguard demo.")


def _page(view: View) -> str:
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
        "counted": figures.counted,
    }
    return environment.get_template("page.html.j2").render(
        view=view,
        record=view.record,
        outcome=words.outcome(view),
        story=words.story(view),
        cards=panels.cards(view),
        fidelity_notes=panels.fidelity_notes(view),
        next_steps=advice.next_steps(view),
        catalogue=advice.catalogue(view),
        customer=panels.customer(view),
        success=_script(plots.success(view)),
        copies=_script(plots.copies(view)),
        symbols=plots.symbols(view),
        plotly=get_plotlyjs(),
    )


def _script(plot: dict[str, Any] | None) -> str | None:
    """JSON that is safe inside a script element."""
    if plot is None:
        return None
    return json.dumps(plot, allow_nan=False, sort_keys=True).replace("<", "\\u003c").replace("&", "\\u0026")
