"""Rounds are judged, the best is kept, and a run that was stopped goes on."""

import logging
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from honeyguard.checks import tiny_task
from honeyguard.defenses import Honeypot
from honeyguard.defenses.honeypot import rounds
from honeyguard.defenses.honeypot.rounds import FILE, Figures, History, Round, load_rounds
from honeyguard.errors import ArtifactError, DataError, TrainingError
from honeyguard.oracle import predict
from honeyguard.types import OwnerData, Trigger
from tests.defenses.test_contract import SMALL

IMAGES = tiny_task(9).images


def small(**changes: object) -> Honeypot:
    honeypot = SMALL["honeypot"]
    assert isinstance(honeypot, Honeypot)
    return replace(honeypot, **changes)  # type: ignore[arg-type]


def made(number: int, stolen: float, innocent: float, agreement: float) -> Round:
    trigger = Trigger(torch.full((1, 2, 2), float(number)), torch.zeros(1, 2, 2))
    return Round(Figures(number, stolen, innocent, agreement), trigger, {"weight": torch.full((3,), float(number))})


def test_the_best_round_is_within_the_budget_and_tells_copies_from_others(tmp_path: Path) -> None:
    history = History(tmp_path / "rounds", "run", agreement=0.98)
    for one in (made(1, 0.5, 0.0, 0.99), made(2, 0.99, 0.0, 0.9), made(3, 0.9, 0.1, 0.98), made(4, 0.95, 0.5, 1.0)):
        history.add(one)
    assert history.best is not None
    assert history.best.figures.number == 3
    again = History(tmp_path / "rounds", "run", agreement=0.98)
    assert again.done == 4
    assert again.best is not None
    assert torch.equal(again.best.layer["weight"], torch.full((3,), 3.0))
    assert torch.equal(again.best.trigger.delta, torch.full((1, 2, 2), 3.0))
    assert stat.S_IMODE((tmp_path / "rounds" / FILE).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "rounds").iterdir()] == [FILE]


def test_rounds_of_another_run_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    assert load_rounds(tmp_path, "run") is None
    History(tmp_path, "run", 0).add(made(1, 0.5, 0, 1))
    with pytest.raises(ArtifactError, match="another's in"):
        load_rounds(tmp_path, "other")
    (tmp_path / FILE).write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="Remove it to begin again"):
        load_rounds(tmp_path, "run")


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C while the round `after` is added."""
    add, count = History.add, [0]

    def counted(self: History, latest: Round) -> None:
        count[0] += 1
        if count[0] > after:
            raise KeyboardInterrupt
        add(self, latest)

    monkeypatch.setattr(rounds.History, "add", counted)


@pytest.mark.parametrize("poison", [0.3, 0.0])  # without it copies of earlier rounds are kept
def test_a_stopped_run_keeps_its_best_round_and_goes_on_to_the_same_end(
    poison: float, victim: nn.Module, owner: OwnerData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lessons = replace(small().lessons, poison=poison)
    whole = small(rounds=3, lessons=lessons).protect(victim, owner)
    stopped = small(rounds=3, lessons=lessons, folder=str(tmp_path / "rounds"))
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
        stopping(patch, after=1)
        early = stopped.protect(victim, owner)
    assert early.key is not None
    assert "stopped; round 1" in caplog.text
    assert torch.equal(early.key.trigger.delta, small(rounds=1, lessons=lessons).protect(victim, owner).key.trigger.delta)  # type: ignore[union-attr]
    late = stopped.protect(victim, owner)
    assert late.key is not None and whole.key is not None
    assert late.key.commitment == whole.key.commitment
    assert torch.equal(predict(late.network, IMAGES), predict(whole.network, IMAGES))


def test_stopped_before_the_first_round_there_is_nothing_to_keep(
    victim: nn.Module, owner: OwnerData, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: value.clone() for name, value in victim.state_dict().items()}
    stopping(monkeypatch, after=0)
    with pytest.raises(KeyboardInterrupt):
        small().protect(victim, owner)
    assert all(torch.equal(value, before[name]) for name, value in victim.state_dict().items())


def test_a_budget_out_of_reach_says_which_knob_to_turn(victim: nn.Module, owner: OwnerData, caplog: pytest.LogCaptureFixture) -> None:
    lessons = replace(small().lessons, poison=1000.0, own=0.0, hold=0.001, decoys=0.0, agreement=1.0)
    with caplog.at_level(logging.WARNING):
        protected = small(lessons=lessons).protect(victim, owner)
    assert protected.key is not None
    assert "Lower lessons.poison and lessons.carriers, or raise lessons.own" in caplog.text


def test_bad_input(victim: nn.Module, owner: OwnerData) -> None:
    few = replace(owner, shadow_set=owner.shadow_set[:5])
    with pytest.raises(DataError, match="at least one batch of"):
        small().protect(victim, few)
    with pytest.raises(TrainingError, match="finite loss of the honeypot layer"):
        small(lessons=replace(small().lessons, optimiser="sgd", lr=3e38)).protect(victim, owner)
