"""Render the tables and pictures of README.md and docs/ from results/*.json; with --check, only say whether they are up to date.

A table stands between `<!-- results NAME -->` and `<!-- /results NAME -->`, NAME one of `tables.TABLES`.
A picture is docs/pictures/NAME.svg, NAME one of `pictures.PICTURES`.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pictures import PICTURES
from tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- results (\w+) -->\n).*?(<!-- /results \2 -->)", re.DOTALL)


def render(text: str, root: Path = ROOT) -> str:
    """The page with its tables replaced."""
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]](root)}\n{block[3]}", text)


def pages() -> Iterator[tuple[Path, str]]:
    """Every page and picture, and what it should be."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        yield path, render(path.read_text(encoding="utf-8"))
    for name, draw in PICTURES.items():
        if picture := draw(ROOT):
            yield ROOT / "docs" / "pictures" / f"{name}.svg", picture


if __name__ == "__main__":
    for path, text in pages():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not what results/ says: run make readme.")
