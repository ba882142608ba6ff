"""Every detector keeps the contract: what it says depends on the client's queries alone, and costs bounded memory."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from honeyguard.detection import DETECTORS, Detector, Queries, Watch
from honeyguard.detection.evidence import Fitted
from honeyguard.detection.thresholds import Thresholds
from honeyguard.errors import DataError
from tests.detection.streams import benign, between_classes, noise, perturbed, weight

FIT = benign(400, 0)


def fitted(name: str) -> Detector:
    return DETECTORS[name]().fit(FIT)


def scores(watch: Watch, stream: Queries, size: int) -> list[float]:
    return [watch.observe(part) for part in stream.split(size)]


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("stream", [benign(250, 1), noise(250, 2), perturbed(250, 3)], ids=["benign", "noise", "perturbed"])
def test_the_score_is_the_same_however_queries_come_in_requests(name: str, stream: Queries) -> None:
    whole, single, sevens = (fitted(name).start() for _ in range(3))
    last = whole.observe(stream)
    assert np.isfinite(last) and last >= 0
    assert scores(single, stream, 1)[-1] == pytest.approx(last, rel=1e-3, abs=1e-6)
    assert scores(sevens, stream, 7)[-1] == pytest.approx(last, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_same_queries_give_the_same_scores_and_clients_do_not_mix(name: str) -> None:
    first, second = fitted(name), fitted(name)
    one = first.start()
    expected = scores(second.start(), benign(200, 1), 20)
    assert scores(one, benign(200, 1), 20) == expected
    if name != "sybil":
        other, again = first.start(), first.start()
        mixed = [(again.observe(a), other.observe(b))[0] for a, b in zip(benign(200, 1).split(20), noise(200, 5).split(20), strict=True)]
        assert mixed == expected


@pytest.mark.parametrize("name", DETECTORS)
def test_memory_is_bounded(name: str) -> None:
    watch, other = fitted(name).start(), fitted(name).start()
    scores(watch, benign(1200, 1), 100)
    before = weight(watch)
    scores(watch, noise(1200, 2), 100)
    scores(watch, benign(1200, 3), 100)
    assert weight(watch) <= before + 64
    assert weight(other) <= before
    assert before < 2_000_000


@pytest.mark.parametrize("name", DETECTORS)
def test_no_queries_change_nothing(name: str) -> None:
    watch = fitted(name).start()
    assert watch.observe(FIT[:0]) == 0
    last = watch.observe(noise(150, 1))
    assert watch.observe(FIT[:0]) == pytest.approx(last)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_restored_detector_gives_the_same_scores(name: str, tmp_path: Path) -> None:
    detector = fitted(name)
    thresholds = Thresholds(
        detectors={name: detector},
        values={name: 1.5},
        client_day=200,
        days=1,
        false_alarms_per_client_day=0.01,
        bound=0.009,
        streams=300,
    )
    (tmp_path / "t.json").write_text(json.dumps(thresholds.content()))
    restored = Thresholds.load(tmp_path / "t.json")
    assert restored.values == {name: 1.5}
    assert restored.detectors[name] == detector
    stream = perturbed(200, 4)
    assert scores(restored.detectors[name].start(), stream, 50) == scores(detector.start(), stream, 50)


@pytest.mark.parametrize("name", [name for name, kind in DETECTORS.items() if issubclass(kind, Fitted)])
def test_who_knows_nothing_of_benign_queries_refuses_to_start(name: str) -> None:
    with pytest.raises(DataError, match="a fitted detector"):
        DETECTORS[name]().start()
    with pytest.raises(DataError, match="at least 40 benign queries"):
        DETECTORS[name]().fit(FIT[:39])


@pytest.mark.parametrize("name", DETECTORS)
def test_features_of_another_model_are_refused_by_those_who_read_them(name: str) -> None:
    watch, stream = fitted(name).start(), benign(20, 1)
    other = Queries.of(stream.images, stream.answers)
    if name in {"novelty", "out_of_distribution"}:
        with pytest.raises(DataError, match="features of 4 numbers, as thresholds were calibrated with; got 64"):
            watch.observe(other)
    else:
        assert watch.observe(other) == fitted(name).start().observe(stream)


@pytest.mark.parametrize(
    ("name", "thief"),
    [
        ("out_of_distribution", noise),
        ("synthetic", noise),
        ("uncertainty", between_classes),
        ("near_duplicates", perturbed),
        ("novelty", lambda n, seed: spread(n, seed)),
    ],
)
def test_each_sees_what_it_is_made_for(name: str, thief: Callable[[int, int], Queries]) -> None:
    """Its score of the thief is above that of every one of twenty benign clients."""
    detector = fitted(name)
    highest = max(max(scores(detector.start(), benign(200, seed), 20)) for seed in range(10, 30))
    assert scores(detector.start(), thief(200, 40), 20)[-1] > 2 * highest


def spread(n: int, seed: int) -> Queries:
    """Of many benign queries those farthest from all chosen before."""
    many = benign(5 * n, seed)
    chosen, distance = [0], np.linalg.norm(many.features - many.features[0], axis=1)
    for _ in range(n - 1):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(many.features - many.features[chosen[-1]], axis=1))
    return many[np.array(chosen)]
