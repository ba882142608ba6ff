"""Shared pieces: a tiny task that a network learns in a moment, the command line, and one thread a worker."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from honeyguard.checks import tiny_task, tiny_victim
from honeyguard.types import Labelled, OwnerData

torch.set_num_threads(1)
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def task() -> Labelled:
    return tiny_task()


@pytest.fixture(scope="session")
def victim() -> nn.Module:
    return tiny_victim()


@pytest.fixture(scope="session")
def owner() -> OwnerData:
    return OwnerData(tiny_task(1), tiny_task(2).images)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give the command line its arguments; the exit code and what it printed, in one line."""
    from honeyguard import __main__ as command_line

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["honeyguard", *map(str, arguments)])
        try:
            command_line.main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
        out = capsys.readouterr()
        return code, " ".join((out.out + out.err).split())

    return run
