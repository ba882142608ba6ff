"""What `honeyguard` offers is found, and only when it is asked for."""

import subprocess
import sys

import pytest

import honeyguard
from honeyguard import api

LAZY = (
    "import sys, honeyguard; assert 'torch' not in sys.modules; from honeyguard import *; print(ReverseSigmoid.__name__, protect.__name__)"
)


def test_everything_is_found_by_its_name() -> None:
    assert all(getattr(honeyguard, name) is getattr(api, name) for name in api.__all__)
    assert set(api.__all__) <= set(dir(honeyguard))
    with pytest.raises(AttributeError, match="module 'honeyguard' has no attribute 'protekt'"):
        honeyguard.protekt  # noqa: B018


def test_it_is_imported_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ReverseSigmoid", "protect"]
