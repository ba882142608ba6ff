"""Shared pieces: a tiny task that a network learns in a moment, and one thread a worker."""

import pytest
import torch
from torch import nn

from honeyguard.checks import tiny_task, tiny_victim
from honeyguard.types import Labelled, OwnerData

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def task() -> Labelled:
    return tiny_task()


@pytest.fixture(scope="session")
def victim() -> nn.Module:
    return tiny_victim()


@pytest.fixture(scope="session")
def owner() -> OwnerData:
    return OwnerData(tiny_task(1), tiny_task(2).images)
