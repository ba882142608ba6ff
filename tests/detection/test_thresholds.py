"""Thresholds that hold their rate, the file they lie in, and logs through detectors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from honeyguard.detection import DETECTORS, Detector, Queries
from honeyguard.detection.replay import Request, alarms, replay
from honeyguard.detection.thresholds import Thresholds, calibrate, tops
from honeyguard.errors import ArtifactError, DataError, HoneyguardError
from tests.detection.streams import benign, noise

CHEAP = ("uncertainty", "synthetic")
FITTED: Mapping[str, Detector] = {name: DETECTORS[name]().fit(benign(400, 0)) for name in CHEAP}


@dataclass(frozen=True, kw_only=True)
class FirstPixel:
    """A detector whose score is the first pixel of the last query: streams of known scores."""

    def fit(self, benign: Queries) -> "FirstPixel":  # noqa: ARG002
        return self

    def start(self) -> "FirstPixel":
        return self

    def observe(self, queries: Queries) -> float:
        return float(queries.images[-1, 0, 0, 0])


def rounds(scores: np.ndarray, queries: int = 10) -> list[list[Queries]]:
    """A stream for each score."""
    return [[Queries(*(np.full((queries, 1, 1, 1), s, np.float32), *[np.full((queries, 2), s, np.float32)] * 2))] for s in scores]


@pytest.mark.parametrize("days", [1, 5])
def test_the_rate_holds_for_new_clients_as_often_as_stated(days: int) -> None:
    """Over many calibrations on scores from a known distribution, the true rate is above the stated one in 5 % of them at most."""
    random, too_high = np.random.default_rng(0), 0
    for _ in range(60):
        scores = random.exponential(size=800)
        found = calibrate({"first": FirstPixel()}, rounds(scores, 10 * days), 0.01, client_day=10)
        true_rate = float(stats.expon.sf(found.values["first"])) / days
        too_high += true_rate > 0.01
        assert found.bound <= 0.01 and found.days == days and found.streams == 400
    assert too_high <= 6  # binomial, 60 at 5 %: more in one of 100 runs


def test_benign_clients_stay_below_the_thresholds_and_thieves_do_not() -> None:
    streams = [[benign(60, 100 + i)] for i in range(300)]
    found = calibrate(FITTED, streams, 0.02, client_day=60)
    log = [Request(f"benign {i}", benign(60, 1000 + i)) for i in range(60)]
    assert sum(map(bool, alarms(found.detectors, found.values, log).values())) <= 4
    raised = alarms(found.detectors, found.values, [Request("thief", part) for part in noise(60, 1).split(5)])
    assert raised["thief"]["synthetic"] <= 30


@pytest.mark.parametrize(
    ("streams", "rate", "said"),
    [
        (rounds(np.random.default_rng(0).random(500)), 0.01, "at least 598 benign streams for this rate; got 500"),
        (rounds(np.random.default_rng(0).random(700), 9), 0.01, "at least 10 queries, a client's day; got one of 9"),
        ([], 0.01, "at least 10 queries"),
        (rounds(np.ones(700)), 0.01, "the same score on all of them from first"),
    ],
)
def test_streams_that_say_too_little(streams: list[list[Queries]], rate: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        calibrate({"first": FirstPixel()}, streams, rate, client_day=10)


def test_the_largest_score_of_clients_who_are_served_side_by_side() -> None:
    low, high = rounds(np.array([0.2, 0.7]), 70)
    assert tops({"first": FirstPixel()}, [low[0], high[0]]) == [[pytest.approx(0.2)], [pytest.approx(0.7)]]


def test_a_replay_is_what_a_live_watch_says_and_leaves_it_alone() -> None:
    detectors = {name: DETECTORS[name]().fit(benign(400, 0)) for name in DETECTORS}
    parts = list(benign(120, 1).split(30))
    log = [Request(client, part) for part in parts for client in ("ann", "bob")]
    steps = list(replay(detectors, log))
    assert [(step.client, step.sent) for step in steps[-2:]] == [("ann", 120), ("bob", 120)]
    for name, detector in detectors.items():
        ann, bob = detector.start(), detector.start()
        live = [watch.observe(part) for part in parts for watch in (ann, bob)]
        assert [step.scores[name] for step in steps] == live, name
    assert list(replay(detectors, log))[-1].scores["sybil"] == steps[-1].scores["sybil"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content.update(kind="model"), "model of schema 1"),
        (lambda content: content.update(schema=2), "schema 2"),
        (lambda content: content.pop("bound"), "KeyError"),
        (lambda content: content["detectors"].update(prado=content["detectors"].pop("synthetic")), "Did you mean 'prada'"),
        (lambda content: content["detectors"]["synthetic"].update(threshold=None), "TypeError"),
        (lambda content: content["detectors"]["synthetic"]["arguments"].update(extra=1), "TypeError"),
        (lambda content: content["detectors"]["synthetic"]["state"]["mean"].update(float32="%%"), "Error"),
        (lambda content: content["detectors"]["synthetic"]["state"]["mean"].update(shape=[3]), "ValueError"),
    ],
)
def test_a_damaged_file_of_thresholds(tmp_path: Path, damage: object, said: str) -> None:
    found = Thresholds(
        detectors=FITTED, values=dict.fromkeys(CHEAP, 1.0), client_day=9, days=1, false_alarms_per_client_day=0.01, bound=0.01, streams=9
    )
    content = json.loads(json.dumps(found.content()))
    assert callable(damage)
    damage(content)
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(HoneyguardError, match=said):
        Thresholds.load(tmp_path / "t.json")


def test_no_file_of_thresholds(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="FileNotFoundError"):
        Thresholds.load(tmp_path / "t.json")
