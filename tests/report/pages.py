"""What the tests of the report share: a small record of two seeds, altered copies of it, and a reader of the page."""

import copy
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

from honeyguard.benchmark.summary import headline, summary

Record = dict[str, Any]


def record(seeds: int = 2) -> Record:
    """A measured record: on this one no theft is proved, and the honeypot is dear."""
    content: Record = json.loads((Path(__file__).parent / "record.json").read_text(encoding="utf-8"))
    content["stories"] = content["stories"][:seeds]
    content["seeds"] = content["seeds"][:seeds]
    return rebuilt(content)


def rebuilt(content: Record) -> Record:
    """The record with summary and headline worked out again from its stories."""
    return content | {"summary": summary(content["stories"]), "headline": headline(content["stories"])}


def altered(change: Callable[[Record], None], *, base: Record | None = None) -> Record:
    """The record with `change` made to every suspect of every seed."""
    content = copy.deepcopy(base or record())
    for story in content["stories"]:
        for suspect in story["suspects"]:
            change(suspect)
    return rebuilt(content)


def marked(rate: float = 0.9, p_value: float = 2e-6, decoys: float = 0.05) -> Callable[[Record], None]:
    """A change that gives every stolen copy this ASR, p-value and rate of decoys."""

    def change(suspect: Record) -> None:
        if suspect["role"] == "stolen":
            trial = suspect["trials"]["honeypot"]
            trial["attack_success"] = estimate(rate)
            trial["decoy_success"] = estimate(decoys)
            trial["verdict"] |= {"p_value": p_value, "statistic": 19.0, "triggered": rate, "conclusion": "Evidence of theft."}

    return change


def good() -> Record:
    """A record as an owner wishes it: every theft proved, at no price."""
    content = altered(marked())
    for story in content["stories"]:
        for defense in story["defenses"]:
            defense["cost_points"], defense["accuracy"] = 0.0, story["defenses"][0]["accuracy"]
    return rebuilt(content)


def estimate(value: float | None) -> Record:
    spread = 0 if value is None else 0.02
    return {"value": value, "low": None if value is None else value - spread, "high": None if value is None else value + spread, "n": 100}


def without_honeypot() -> Record:
    """The record of a suite that has output defenses only."""
    content = record()
    for story in content["stories"]:
        story["target_class"] = {}
        story["defenses"] = [d for d in story["defenses"] if d["commitment"] is None]
        story["suspects"] = [s | {"trials": {}} for s in story["suspects"] if s["role"] != "stolen"]
    nothing = dict.fromkeys(("honeypot", "target_class", "trigger", "strength", "decoy", "pairs"))
    content["pictures"] |= nothing
    return rebuilt(content)


def at(content: Any, pointer: str) -> Any:
    """What a JSON Pointer points to."""
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        content = content[int(step)] if isinstance(content, list) else content[step]
    return content


def body(page: str) -> str:
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def text(page: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", body(page))).split())


def figures(page: str) -> list[tuple[str, str]]:
    """(data-figure, data-value) of every figure on the page."""
    return [(unescape(name), value) for name, value in re.findall(r'data-figure="([^"]*)" data-value="([^"]*)"', page)]


def counts(page: str) -> set[tuple[str, int]]:
    return {(name, int(value)) for name, value in re.findall(r'data-count="([^"]*)" data-value="(\d+)"', page)}
