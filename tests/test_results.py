"""The figures in results/ say how they were made, hold no secrets, and the demo's meet what the project promises."""

import html
import json
from pathlib import Path
from typing import Any

import pytest

from honeyguard.benchmark.record import SCHEMA
from honeyguard.benchmark.summary import headline
from honeyguard.report import render

RESULTS = sorted((Path(__file__).parents[1] / "results").rglob("*.json"))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: p.name)
def test_every_result_says_how_it_was_made(path: Path) -> None:
    result = read(path)
    assert result["schema"] == SCHEMA
    assert result["command"].startswith(("honeyguard benchmark ", "python benchmarks/"))
    assert "/work" not in result["command"]
    repeated = {"speed.json", "throughput.json", "faults.json", "memory.json", "perturbation.json"}  # these repeat instead
    assert len(result["seeds"]) >= 3 or path.name in repeated
    assert all(isinstance(value, int | float) for value in result["headline"].values())
    assert result["environment"]["commit"]
    assert result["environment"]["dirty"] is False
    assert result["environment"]["packages"]["torch"]
    assert "pictures" not in result  # images of the data sets, and the trigger


@pytest.mark.parametrize("path", [path for path in RESULTS if "stories" in read(path)], ids=lambda p: p.name)
def test_the_headline_follows_from_the_stories_and_the_page_renders(path: Path) -> None:
    result = read(path)
    assert result["headline"] == pytest.approx(headline(result["stories"]))
    assert result["suite"]["title"] in html.unescape(render(result))


def test_the_demo_keeps_its_promises() -> None:
    figures = read(Path(__file__).parents[1] / "results" / "demo.json")["headline"]
    assert figures["victim_accuracy"] >= 0.97
    assert figures["served_accuracy_cost_points"] <= 1.0
    assert figures["asr_probabilities"] >= 0.6
    assert figures["asr_labels"] >= 0.6
    assert figures["asr_controls_max"] <= 0.05
    assert figures["p_value_thieves_max"] <= 0.001
    assert figures["innocents_p_min"] >= 0.001
    assert figures["innocents_p_above_0_05_share"] >= 0.8
    assert figures["demo_seconds"] <= 120
