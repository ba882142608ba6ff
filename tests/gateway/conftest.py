from collections.abc import Iterator
from pathlib import Path

import pytest

from honeyguard.gateway.config import Config
from tests.gateway.serving import Running, guarded, running


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guarded folder."""
    return guarded(tmp_path_factory.mktemp("model") / "guarded")


@pytest.fixture(scope="module")
def up(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with all defaults."""
    with running(folder, Config(state=str(tmp_path_factory.mktemp("state")))) as found:
        yield found
