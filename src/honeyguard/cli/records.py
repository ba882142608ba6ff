"""Whole stories and their reports: demo, benchmark, report."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from honeyguard import artifacts, folders
from honeyguard.benchmark import run as runner
from honeyguard.benchmark.pictures import pictures
from honeyguard.benchmark.spec import Suite, read
from honeyguard.benchmark.store import Store
from honeyguard.benchmark.story import Story, cells_of
from honeyguard.errors import ParameterError
from honeyguard.report import render
from honeyguard.terminal import command_line, console, progress, show_verdicts
from honeyguard.types import Protected

DEMO = Path(runner.__file__).parent / "demo.toml"


def demo(*, output: Path = Path("demo"), seed: int = 0) -> None:
    """The whole story on scikit-learn's digits in two minutes: protect, steal, verify, report.

    Args:
        output: new folder for report.html, report.json and what to go on with: guarded, owner.key, substitute, innocent.
        seed: of everything.
    """
    suite = dataclasses.replace(read(DEMO), seeds=(seed,))
    with folders.new_folder(output) as folder:
        cells = folder / "cells"
        result = _run(suite, cells, Path())
        story = Story(suite, seed, Store(cells), Path())
        result["pictures"] = pictures(story)
        folders.write_json(folder / "report.json", result)
        (folder / "report.html").write_text(render(result), encoding="utf-8")
        _save_story(story, folder)
        shutil.rmtree(cells)
    show_verdicts(result)
    console.print(f"Open [bold]{output}/report.html[/]. Then try: honeyguard verify {output}/substitute --key {output}/owner.key")


def benchmark(
    suite: Path,
    *,
    output: Path,
    seeds: tuple[int, ...] = (),
    cells: Path = Path("runs/cells"),
    data_root: Path = Path("data"),
    workers: int = 1,
) -> None:
    """Run a suite and write its record; a run that was stopped goes on where it was.

    Args:
        suite: TOML file, as in benchmarks/.
        output: JSON file of the record.
        seeds: other seeds than the suite's.
        cells: folder of finished steps.
        data_root: folder in which the suite's data sets lie; what is not there is looked up on the hub.
        workers: seeds at a time, one core each.
    """
    chosen = read(suite)
    result = _run(dataclasses.replace(chosen, seeds=seeds or chosen.seeds), cells, data_root, workers)
    folders.write_json(output, result)
    for name, value in result["headline"].items():
        console.print(f"{name}: {value:.4g}")


def report(result: Path, *, output: Path = Path("report.html")) -> None:
    """Render a record as one self-contained page.

    Args:
        result: JSON file that demo or benchmark wrote.
        output: HTML file.
    """
    try:
        content = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError("a record in JSON", f"{result} ({error})", "Name a file that demo or benchmark wrote.") from None
    output.write_text(render(content), encoding="utf-8")
    console.print(f"Open [bold]{output}[/].")


def _run(suite: Suite, cells: Path, data_root: Path, workers: int = 1) -> dict[str, Any]:
    with progress(suite.name, len(suite.seeds) * sum(1 for _ in cells_of(suite))) as note:
        return runner.run(suite, cells=cells, data_root=data_root, workers=workers, command=command_line(), note=note)


def _save_story(story: Story, folder: Path) -> None:
    """What a reader of the demo goes on with."""
    shape, names = story.labelled.shape, story.labelled.names
    key = story.keys["honeypot"]
    guarded = dataclasses.replace(story.guarded["honeypot"].protected, key=key)
    artifacts.save(guarded, folder / "guarded", shape=shape, names=names)
    artifacts.save_key(key, folder / "owner.key")
    chosen = {"victim": story.suspects[0].model} if not story.suspects else {}
    for suspect in story.suspects:
        if suspect.role in {"stolen", "innocent", "victim"}:
            chosen.setdefault({"stolen": "substitute"}.get(suspect.role, suspect.role), suspect.model)
    for name, model in chosen.items():
        artifacts.save(Protected(model), folder / name, shape=shape, names=names)
