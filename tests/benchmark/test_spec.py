import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from honeyguard import tables
from honeyguard.benchmark.spec import PARTS, Suite, read
from honeyguard.cli.records import DEMO
from honeyguard.errors import DataError, HoneyguardError, ParameterError, UnknownNameError

construct = partial(tables.construct, parts=PARTS)
TINY = Path(__file__).parent / "tiny.toml"
ROOT = Path(__file__).parents[2]


def changed(**changes: Any) -> dict[str, Any]:
    return tomllib.loads(TINY.read_text()) | changes


@pytest.mark.parametrize("path", [TINY, DEMO, *sorted((ROOT / "benchmarks").rglob("*.toml"))], ids=lambda p: p.name)
def test_every_suite_of_the_repository_reads(path: Path) -> None:
    suite = read(path)
    assert suite.seeds
    assert suite.attacks
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


NETWORK = {"model": "mlp"}


def test_a_grid_is_every_combination() -> None:
    grid = {
        "network": NETWORK,
        "budgets": [100, 200],
        "queries": [{"name": "random"}, {"name": "entropy", "rounds": 2}],
        "answers": [{"name": "top1"}, {"name": "partial_bayes", "defense": {"name": "reverse_sigmoid", "beta": 0.5}}],
    }
    suite = construct(Suite, changed(grids=[grid], thieves=[]), "suite")
    names = [thief.name for thief in suite.attacks]
    assert len(names) == 8
    assert names[3] == "entropy(rounds=2) / partial_bayes(defense=reverse_sigmoid(beta=0.5)) / supervised / 100 of held_out"
    assert {thief.twins for thief in suite.attacks} == {"100 of held_out", "200 of held_out"}


def test_a_thief_in_two_grids_is_one() -> None:
    grids = [{"network": NETWORK, "budgets": [100], "against": [name]} for name in ("none", "honeypot")]
    (thief,) = construct(Suite, changed(grids=grids, thieves=[]), "suite").attacks
    assert thief.against == ("none", "honeypot")
    everything = construct(Suite, changed(grids=[*grids, {"network": NETWORK, "budgets": [100]}], thieves=[]), "suite").attacks
    assert everything[0].against == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grids": [{"network": NETWORK, "budgets": [100]}, {"network": {"model": "cnn"}, "budgets": [100]}]}, "a name of its own"),
        ({"grids": [{"network": NETWORK, "budgets": [100], "against": ["honepot"]}]}, "Did you mean 'honeypot'"),
        ({"grids": [{"network": NETWORK, "budgets": [100], "trainings": [{"name": "s5l"}]}]}, "Did you mean 's4l'"),
        ({"grids": [{"network": NETWORK, "budgets": [301], "queries": [{"name": "entropy"}]}]}, "a pool of at least 301 images"),
        ({"launderings": {"prune": {"name": "prune"}}}, "Set data.own"),
        ({"innocents": {"networks": []}}, "networks of the innocent models"),
    ],
)
def test_attacks_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(HoneyguardError, match=said):
        construct(Suite, changed(**changes), "suite")


def test_who_makes_images_needs_fewer() -> None:
    grid = {"network": NETWORK, "budgets": [900], "queries": [{"name": "jbda"}]}
    assert construct(Suite, changed(grids=[grid]), "suite").attacks[-1].budget == 900


def test_a_thief_may_know_whatever_defense_it_attacks() -> None:
    grid = {"budgets": [10], "answers": [{"name": "partial_bayes", "defense": "served"}]}
    defenses = {"none": [], "rounded": [{"name": "rounding", "decimals": 2}], "bent": [{"name": "rounding"}, {"name": "reverse_sigmoid"}]}
    knowing = changed(thieves=[], grids=[grid | {"against": ["rounded", "bent"]}], defenses=defenses)
    suite = construct(Suite, knowing, "suite")
    thief = suite.attacks[0]
    assert suite.informed(thief, "rounded").answer["defense"] == {"name": "rounding", "decimals": 2}
    assert suite.informed(thief, "bent").answer["defense"] == {"name": "reverse_sigmoid"}
    with pytest.raises(ParameterError, match="a defense for the thief to know; got 'none'"):
        construct(Suite, knowing | {"grids": [grid]}, "suite")
