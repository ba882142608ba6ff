import tomllib
from pathlib import Path
from typing import Any

import pytest

from honeyguard.benchmark.spec import Suite, construct, read
from honeyguard.cli import DEMO
from honeyguard.errors import DataError, HoneyguardError, ParameterError, UnknownNameError

TINY = Path(__file__).parent / "tiny.toml"
ROOT = Path(__file__).parents[2]


def changed(**changes: Any) -> dict[str, Any]:
    return tomllib.loads(TINY.read_text()) | changes


@pytest.mark.parametrize("path", [TINY, DEMO, *sorted((ROOT / "benchmarks").glob("*.toml"))], ids=lambda p: p.name)
def test_every_suite_of_the_repository_reads(path: Path) -> None:
    suite = read(path)
    assert suite.seeds
    assert suite.thieves
    assert suite.victim.recipe.epochs >= 1


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"sedes": [1]}, UnknownNameError, "Did you mean 'seeds'"),
        ({"defenses": {"x": [{"name": "honeypott"}]}}, UnknownNameError, "Did you mean 'honeypot'"),
        ({"defenses": {"x": [{"name": "honeypot", "round": 3}]}}, UnknownNameError, "Did you mean 'rounds'"),
        ({"defenses": {"x": [{"name": "reverse_sigmoid", "beta": 3}]}}, ParameterError, "beta between 0 and 1"),
        ({"victim": {"model": "mlp", "recipe": {"epoch": 3}}}, UnknownNameError, "key of suite.victim.recipe .*'epochs'"),
        ({"victim": {"model": "mlp", "recipe": {"epochs": "many"}}}, ParameterError, "int at suite.victim.recipe.epochs"),
        ({"seeds": []}, ParameterError, "at least one seed"),
        ({"seeds": 3}, ParameterError, r"a list at suite.seeds"),
        ({"victim": "mlp"}, ParameterError, "a table at suite.victim"),
    ],
)
def test_mistakes_name_the_place_and_the_right_name(changes: dict[str, Any], error: type[HoneyguardError], said: str) -> None:
    with pytest.raises(error, match=said):
        construct(Suite, changed(**changes), "suite")


def test_thieves_are_checked_before_anything_runs() -> None:
    thief = tomllib.loads(TINY.read_text())["thieves"][0]
    for change, error, said in (
        ({"pool": "held-out"}, UnknownNameError, "Did you mean 'held_out'"),
        ({"budget": 301}, DataError, "a pool of at least 301 images; got 300"),
        ({"answer": {"name": "top2"}}, UnknownNameError, "Did you mean 'top1'"),
        ({"query": {"name": "rnd"}}, UnknownNameError, "a known query strategy"),
    ):
        with pytest.raises(error, match=said):
            construct(Suite, changed(thieves=[thief | change]), "suite")


def test_missing_keys_and_files(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"the keys .*name.* in suite"):
        construct(Suite, {}, "suite")
    with pytest.raises(DataError, match="a suite in TOML"):
        read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(DataError, match="a suite in TOML"):
        read(tmp_path / "bad.toml")
