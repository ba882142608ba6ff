"""What the command line prints."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from honeyguard.report.audit.words import conclusion
from honeyguard.running import errors

console = Console()


def command_line() -> str:
    """What the user typed; API keys are never a part of it."""
    return " ".join(["honeyguard", *sys.argv[1:]])


@contextmanager
def messages() -> Iterator[None]:
    """Show that something is going on, and the library's messages."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False, show_level=False)])
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it reports every request
    with errors.status("working"):
        yield


@contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[str, str], None]]:
    """A bar of finished steps; what is yielded is called with kind and label of each."""
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors) as bars:
        bar = bars.add_task(name, total=total)
        yield lambda kind, label: bars.update(bar, advance=1, description=f"{kind}: {label}"[:44])


def show_figures(figures: dict[str, Any]) -> None:
    """An evaluation as a table."""
    table = Table("figure", "value", "95 % interval")
    for name, estimate in ({k: v for k, v in figures.items() if k != "distortion"} | figures["distortion"]).items():
        if estimate:
            table.add_row(name, f"{estimate['value']:.4f}", f"{estimate['low']:.4f} … {estimate['high']:.4f}")
    console.print(table)


def show_verdicts(result: dict[str, Any]) -> None:
    """The trials of a record's first story as a table, and its headline."""
    table = Table("suspect", "accuracy", "fidelity", "moved by the trigger", "p-value", "verdict", title=result["suite"]["title"])
    for suspect in result["stories"][0]["suspects"]:
        for trial in suspect["trials"].values():
            if verdict := trial["verdict"]:
                found = "[bold red]evidence of theft[/]" if verdict["p_value"] <= verdict["false_positive_rate"] else "no evidence"
                figures = (f"{suspect[k]['value']:.3f}" for k in ("accuracy", "fidelity"))
                table.add_row(suspect["label"], *figures, f"{trial['attack_success']['value']:.1%}", f"{verdict['p_value']:.2g}", found)
    console.print(table)
    for name, value in result["headline"].items():
        console.print(f"  {name}: {value:.4g}")


def show_audit(result: dict[str, Any]) -> None:
    """The fidelity of every thief with every budget, what was sent, and the conclusion."""
    points = [curve["points"] for curve in result["curves"]]
    table = Table("thief", *(f"{point['budget']:,}" for point in points[0]), title="fidelity by queries")
    for curve in result["curves"]:
        table.add_row(curve["label"], *(f"{point['fidelity']['value']:.3f}" for point in curve["points"]))
    console.print(table)
    console.print("{answered:,} images were answered, {sent:,} were sent at most.".format(**result["queries"]))
    console.print(conclusion(result), markup=False, highlight=False)
