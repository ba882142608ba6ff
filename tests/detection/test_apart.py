"""Detectors in a process of their own say what they say in this one."""

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from honeyguard.detection import DETECTORS, Queries
from honeyguard.detection.apart import Apart, Watches
from honeyguard.detection.streams import Array
from honeyguard.detection.thresholds import Thresholds

RANDOM = np.random.default_rng(0)


def queries(count: int) -> Queries:
    images = RANDOM.random((count, 1, 8, 8), np.float32)
    return Queries.of(images, RANDOM.dirichlet(np.ones(4), count).astype(np.float32))


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    fitted = {name: kind().fit(queries(200)) for name, kind in DETECTORS.items()}
    figures = {"client_day": 200, "days": 1, "false_alarms_per_client_day": 0.01, "bound": 0.01, "streams": 300}
    return Thresholds(detectors=fitted, values=dict.fromkeys(fitted, 1.0), **figures)  # type: ignore[arg-type]


@pytest.fixture
def apart(thresholds: Thresholds) -> Iterator[Apart]:
    found = Apart(thresholds, 3)
    yield found
    found.close()


def part(client: str, count: int = 5) -> tuple[str, Array, Array, None]:
    asked = queries(count)
    return client, asked.images, asked.answers, None


def test_the_same_scores(apart: Apart, thresholds: Thresholds) -> None:
    here = Watches(thresholds, 3)
    for clients in ("ab", "a", "cde", "aca"):
        parts = [part(client) for client in clients]
        (scores, seconds), (expected, _) = apart(parts), here(parts)
        assert scores == expected
        assert scores.keys() == set(clients)
        assert seconds > 0


def test_a_detector_s_error_is_raised_and_the_next_call_works(apart: Apart) -> None:
    apart([part("a")])
    with pytest.raises((ValueError, IndexError)):
        apart([("a", np.zeros((1, 1, 0, 0), np.float32), np.zeros((1, 4), np.float32), None)])
    assert apart([part("a")])[0].keys() == {"a"}


def test_it_starts_again_without_memory_when_it_died(apart: Apart, thresholds: Thresholds) -> None:
    apart([part("a")])
    process = apart._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(RuntimeError, match="died"):
        apart([part("a")])
    again = part("a")
    assert apart([again])[0] == Watches(thresholds, 3)([again])[0]


def test_it_ends_with_the_process_that_started_it(apart: Apart) -> None:
    apart([part("a")])
    process = apart._process
    assert apart._pipe is not None
    apart._pipe.close()  # as the kernel does it to whoever is killed
    assert process.wait(10) == 0
