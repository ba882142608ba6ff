"""What the tables of all pages are made of."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


ATTACKS = {"digits": "digits", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10 (WebP copies)"}


def record_of(root: Path, name: str) -> Record | None:
    path = root / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def interval(figure: Record | None) -> str:
    return f"{figure['value']:.3f} ± {(figure['high'] - figure['low']) / 2:.3f}" if figure else ""


def formatted(figures: Record, key: str, form: str) -> str:
    return form.format(figures[key]) if key in figures else ""


def markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def headline_of(name: str, title: str) -> Callable[[Path], str]:
    """A plain table of one result's headline."""

    def render(root: Path) -> str:
        record = record_of(root, name)
        rows = ([key.replace("_", " "), f"{value:.4g}"] for key, value in record["headline"].items()) if record else ()
        return markdown([f"{title}, {len(record['seeds'])} seeds" if len(record["seeds"]) > 1 else title, ""], rows) if record else ""

    return render
