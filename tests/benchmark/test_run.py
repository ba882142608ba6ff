import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from honeyguard.benchmark.run import run
from honeyguard.benchmark.spec import read
from honeyguard.benchmark.store import Store
from honeyguard.benchmark.story import cells_of
from honeyguard.benchmark.summary import summary
from honeyguard.repro import code_fingerprint
from tests.benchmark.test_spec import TINY

SUITE = read(TINY)


def figures(result: dict[str, Any]) -> str:
    """All that a rerun must repeat: everything but the timings."""
    return json.dumps([untimed(result["stories"]), {k: v for k, v in result["headline"].items() if k != "demo_seconds"}])


def untimed(content: Any) -> Any:
    """The same without the entries that are seconds, at any depth."""
    if isinstance(content, dict):
        return {key: untimed(value) for key, value in content.items() if not key.endswith("_seconds")}
    return [untimed(item) for item in content] if isinstance(content, list) else content


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def result(cells: Path) -> dict[str, Any]:
    return run(SUITE, cells=cells, data_root=Path())


def test_a_record_says_how_it_was_made(result: dict[str, Any], cells: Path) -> None:
    assert result["schema"] == 1
    assert result["seeds"] == [0, 1]
    assert result["environment"]["packages"]["torch"]
    assert {"commit", "dirty", "device", "threads"} <= result["environment"].keys()
    assert result["suite"]["victim"]["recipe"]["lr"] == 0.1
    for path in cells.glob("*/record.json"):
        record = json.loads(path.read_text())
        assert record["code"] == code_fingerprint()
        assert {"spec", "parents", "results", "environment", "wall_seconds", "schema"} <= record.keys()


def test_the_story_is_whole(result: dict[str, Any]) -> None:
    story = result["stories"][0]
    roles = [suspect["role"] for suspect in story["suspects"]]
    assert [roles.count(r) for r in ("undefended", "stolen", "victim", "calibration", "innocent")] == [2, 4, 1, 3, 2]
    assert story["sizes"] == {"victim": 500, "shadow": 300, "thief": 300, "test": 697}
    for suspect in story["suspects"]:
        (trial,) = suspect["trials"].values()  # both chains share one honeypot, and so one key
        assert (trial["verdict"] is None) == (suspect["role"] == "calibration")
    none, honeypot, both = story["defenses"]
    assert (none["cost_points"], none["fidelity"]["value"], none["commitment"]) == (0, 1, None)
    assert both["commitment"] == honeypot["commitment"]
    assert both["cost_points"] == honeypot["cost_points"]  # the reverse sigmoid keeps every top class
    assert set(result["headline"]) >= {"asr_probabilities", "asr_labels", "asr_controls_max", "p_value_thieves_max", "innocents_p_min"}
    assert all(isinstance(value, float) for value in result["headline"].values())


def test_defenses_that_come_to_one_key_on_a_seed_are_summed_up_over_the_others(result: dict[str, Any]) -> None:
    first, second = copy.deepcopy(result["stories"])
    for suspect in second["suspects"]:
        suspect["trials"] = {f"another {key}": trial for key, trial in suspect["trials"].items()}
    thefts = summary([first, second])["thefts"].values()
    assert all({key: figure["n"] for key, figure in theft["asr"].items()} == {"honeypot": 1, "another honeypot": 1} for theft in thefts)


@pytest.mark.usefixtures("result")
def test_it_counts_the_cells_that_it_needs(cells: Path) -> None:
    done = list(cells.iterdir())
    seen: list[str] = []
    run(SUITE, cells=cells, data_root=Path(), note=lambda kind, label: seen.append(kind))
    assert list(cells.iterdir()) == done
    assert len(seen) == 2 * sum(1 for _ in cells_of(SUITE))


def test_seeds_side_by_side_give_the_same_figures(result: dict[str, Any], tmp_path: Path) -> None:
    assert figures(run(SUITE, cells=tmp_path, data_root=Path(), workers=2)) == figures(result)


def test_a_killed_run_goes_on_where_it_was_and_gives_the_same_figures(result: dict[str, Any], tmp_path: Path) -> None:
    suite, cells = replace(SUITE, seeds=(0,)), tmp_path / "cells"
    command = [sys.executable, "-m", "honeyguard", "benchmark", str(TINY), "--output", str(tmp_path / "r.json"), "--cells", str(cells)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while len(list(cells.glob("*/record.json"))) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("*/record.json")}
    assert not (tmp_path / "r.json").exists()
    again = run(suite, cells=cells, data_root=Path())
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert figures(again) != figures(result)  # one seed of two
    assert json.dumps(again["stories"][0]["suspects"]) == json.dumps(result["stories"][0]["suspects"])


def test_a_cell_is_computed_once_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def compute() -> tuple[dict[str, Any], dict[str, Any]]:
        calls.append(1)
        return {"x": 1.5}, {}

    first, second = (store.cell("k", "label", {"a": 1}, ["p"], compute) for _ in range(2))
    assert (first.results, second.results, len(calls)) == ({"x": 1.5}, {"x": 1.5}, 1)
    assert store.cell("k", "label", {"a": 2}, ["p"], compute).id != first.id
    assert store.cell("k", "label", {"a": 1}, ["q"], compute).id != first.id

    def fail() -> tuple[dict[str, Any], dict[str, Any]]:
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        store.cell("k", "label", {"a": 3}, [], fail)
    assert sorted(tmp_path.iterdir()) == before
