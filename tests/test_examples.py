"""The examples in docstrings run and give what they say."""

import ast
import doctest
import importlib
import re
import textwrap
from pathlib import Path

import pytest
import torch

SOURCE = Path(__file__).parents[1] / "src"
BLOCK = re.compile(r"^( *)Example:\n((?:\1 +.*\n)+)", re.MULTILINE)
EXAMPLES = {
    f"{path.relative_to(SOURCE).with_suffix('')}:{node.name}": text
    for path in sorted(SOURCE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.ClassDef | ast.FunctionDef)
    for _, text in BLOCK.findall((ast.get_docstring(node) or "") + "\n")
}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 10


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_says_what_happens(name: str) -> None:
    module = importlib.import_module(name.partition(":")[0].replace("/", "."))
    example = doctest.DocTestParser().get_doctest(textwrap.dedent(EXAMPLES[name]), {"torch": torch, **vars(module)}, name, None, 0)
    said: list[str] = []
    assert example.examples
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)
