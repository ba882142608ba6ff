"""The detectors' parts against slow references and golden values."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from honeyguard.detection import DETECTORS, Queries
from honeyguard.detection.evidence import Cusum, surprise
from honeyguard.detection.nearest import Memory
from honeyguard.detection.out_of_distribution import SHRINKAGE, OutOfDistribution
from honeyguard.detection.prada import Prada, normality
from honeyguard.detection.streams import thumbnails
from honeyguard.detection.sybil import Sybil
from honeyguard.detection.synthetic import statistics
from honeyguard.errors import DataError
from tests.detection.streams import benign, perturbed


def slow_prada(stream: Queries) -> float:
    """PRADA's algorithm 1 as the paper has it: every image kept, lists, one query after the other."""
    sets: dict[int, list[np.ndarray]] = {}
    own: dict[int, list[float]] = {}
    threshold: dict[int, float] = {}
    distances: list[float] = []
    for image, answer in zip(thumbnails(stream.images).astype(float), stream.answers, strict=True):
        c = int(np.argmax(answer))
        if c not in sets:
            sets[c], own[c], threshold[c] = [image], [0.0], 0.0
            continue
        d = min(distance.euclidean(image, other) for other in sets[c])
        distances.append(d)
        if d > threshold[c]:
            sets[c].append(image)
            own[c].append(d)
            threshold[c] = max(threshold[c], float(np.mean(own[c]) - np.std(own[c])))
    if len(distances) <= 100:
        return 0.0
    mean, spread = np.mean(distances), np.std(distances)
    return 1 - float(stats.shapiro([d for d in distances if mean - 3 * spread <= d <= mean + 3 * spread]).statistic)


@pytest.mark.parametrize("stream", [benign(90, 1), benign(300, 2), perturbed(300, 3)], ids=["few", "benign", "perturbed"])
def test_prada_against_the_papers_algorithm(stream: Queries) -> None:
    watch = Prada(kept=300).start()
    fast = [watch.observe(part) for part in stream.split(11)][-1]
    assert fast == pytest.approx(slow_prada(stream), abs=1e-4)


def test_normality_of_shapiro_and_wilks_own_example() -> None:
    """Weights of eleven men, Biometrika 1965, example 3: W = .79."""
    assert normality([148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236]) == pytest.approx(0.79, abs=0.005)


def test_normality_leaves_outliers_out_and_takes_equal_distances_for_made_up() -> None:
    values = stats.norm.ppf((np.arange(200) + 0.5) / 200).tolist()
    assert normality([*values, 50.0]) == pytest.approx(normality(values), abs=1e-6)
    assert normality(values) > 0.99
    assert normality([0.3] * 150) == 0


def test_perturbed_copies_are_less_normal_than_benign_queries() -> None:
    made, natural = (Prada().start().observe(stream) for stream in (perturbed(400, 3), benign(400, 3)))
    assert made > 0.3 > 3 * natural


@given(st.lists(st.floats(-5, 5), max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_cusum_against_its_recursion_however_it_is_cut(values: list[float], cuts: list[int]) -> None:
    total = 0.0
    for value in values:
        total = max(0.0, total + value - 1.25)
    running, rest = Cusum(0.25), np.array(values)
    for cut in cuts:
        running.add(rest[:cut])
        rest = rest[cut:]
    assert running.add(rest) == pytest.approx(total, abs=1e-9)


def test_surprise_is_one_on_average_for_benign_values_and_bounded() -> None:
    random = np.random.default_rng(0)
    known, fresh = np.sort(random.normal(size=400)).astype(np.float32), random.normal(size=4000).astype(np.float32)
    assert surprise(fresh, known).mean() == pytest.approx(1, abs=0.08)
    assert surprise(np.array([known[-1] + 1]), known)[0] == pytest.approx(math.log(401))
    assert surprise(np.array([known[0] - 1]), known)[0] == 0
    slow = [-math.log((1 + sum(k >= v for k in known)) / 401) for v in fresh[:50]]
    assert surprise(fresh[:50], known) == pytest.approx(slow)


def test_memory_finds_the_nearest_earlier_row() -> None:
    rows = np.random.default_rng(1).random((120, 5), dtype=np.float32)
    memory = Memory(200)
    found = [memory.take(part) for part in np.split(rows, [1, 30, 31, 100])]
    distances, ages = (np.concatenate(parts) for parts in zip(*found, strict=True))
    assert ages.tolist() == list(range(120))
    slow = [min(math.dist(rows[i], rows[j]) for j in range(i)) for i in range(1, 120)]
    assert distances[1:] == pytest.approx(slow, abs=2e-3)


def test_a_full_memory_is_a_uniform_sample_of_all_or_the_latest() -> None:
    kept = np.zeros(400)
    for seed in range(60):
        memory = Memory(40)
        memory._random = np.random.default_rng(seed)
        memory.take(np.arange(400, dtype=np.float32)[:, None])
        kept[memory._rows[:, 0].astype(int)] += 1
    assert stats.chisquare(kept.reshape(8, 50).sum(1)).pvalue > 0.001
    latest = Memory(40, latest=True)
    latest.take(np.arange(400, dtype=np.float32)[:, None])
    assert sorted(latest._rows[:, 0].astype(int).tolist()) == list(range(360, 400))


def test_distances_of_benign_queries_are_as_expected_at_every_age() -> None:
    """Each level of what was learnt says of fresh benign streams that they are benign: mean surprise 1."""
    detector = DETECTORS["novelty"]().fit(benign(1600, 7))
    levels = vars(detector)["state"]["levels"]
    distances, ages = (np.concatenate(p) for p in zip(*(Memory(512).take(benign(256, 50 + i).features) for i in range(20)), strict=True))
    for level in (3, 5, 7):
        at = distances[np.round(np.log2(np.maximum(ages, 1))) == level]
        assert surprise(at, levels[level]).mean() == pytest.approx(1, abs=0.2)


def test_mahalanobis_against_scipy() -> None:
    known, fresh = benign(300, 1), benign(40, 2)
    state = OutOfDistribution().describe(known)
    labels = known.answers.argmax(1)
    means = [known.features[labels == k].mean(0) for k in range(4)]
    centred = known.features - np.stack(means)[labels]
    covariance = centred.T @ centred / len(centred)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / 4 * np.eye(4)
    slow = [min(distance.mahalanobis(x, m, np.linalg.inv(shrunk)) ** 2 for m in means) for x in fresh.features]
    assert OutOfDistribution().measure(fresh, state) == pytest.approx(slow, rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 5, 7)])
def test_thumbnails_are_means_of_blocks(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    made = thumbnails(pixels)
    h, w = min(8, shape[1]), min(8, shape[2])
    assert made.shape == (3, h * w)
    if shape[1] % 8 == 0:
        pooled = F.adaptive_avg_pool2d(torch.as_tensor(pixels).mean(1, keepdim=True), 8).flatten(1).numpy()
        assert made == pytest.approx(pooled, abs=1e-5)
    rows, columns = (np.append(np.arange(n) * size // n, size) for n, size in ((h, shape[1]), (w, shape[2])))
    block = pixels[1].mean(0)[rows[1] : rows[2], columns[0] : columns[1]]
    assert made[1].reshape(h, w)[1, 0] == pytest.approx(block.mean(), abs=1e-5)


def test_statistics_of_known_images() -> None:
    flat, checkers = np.full((1, 3, 8, 8), 0.5, np.float32), np.indices((8, 8)).sum(0)[None, None] % 2
    mean, spread, down, across, fine, upside, mirrored, dark, bright, colour = statistics(flat)[0]
    assert (mean, spread, upside, mirrored, dark, bright, colour) == pytest.approx((0.5, 0, 0, 0, 0, 0, 0), abs=1e-6)
    assert (down, across, fine) == pytest.approx((math.log(1e-3),) * 3)
    made = statistics(checkers.astype(np.float32))[0]
    assert made[[0, 1, 5, 6, 7, 8]] == pytest.approx([0.5, 0.5, 1, 1, 0.5, 0.5])
    assert made[2:5] == pytest.approx([math.log(1.001), math.log(1.001), math.log(8.001)], rel=1e-4)
    assert np.isfinite(statistics(np.zeros((2, 1, 2, 2), np.float32))).all()


def test_sybils_who_interleave_one_pool_are_hinted_at_and_honest_clients_are_not() -> None:
    fit, pool = benign(600, 0), perturbed(600, 1)
    detector = Sybil().fit(fit)
    sybils, parts = [detector.start() for _ in range(3)], list(pool.split(10))
    shared = [sybils[i % 3].observe(part) for i, part in enumerate(parts)]
    honest = Sybil().fit(fit)
    clients, streams = [honest.start() for _ in range(3)], list(benign(600, 2).split(10))
    apart = [clients[i % 3].observe(part) for i, part in enumerate(streams)]
    assert min(shared[-3:]) > 3 * max(apart)
    alone = Sybil().fit(fit).start()
    assert alone.observe(pool) == 0  # its own queries are no hint


def test_queries_of_unequal_length_are_refused() -> None:
    stream = benign(10, 0)
    with pytest.raises(DataError, match="one row of each"):
        Queries(stream.images, stream.features[:9], stream.answers)
    assert Queries.of(stream.images, stream.answers).features.shape == (10, 64)
