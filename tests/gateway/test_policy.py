"""Suspicion: alarms and what follows from them, for the one client that they are about; and the marks of its answers."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from honeyguard.defenses import ReverseSigmoid
from honeyguard.detection import DETECTORS, Queries
from honeyguard.detection.dawn import load_marks
from honeyguard.detection.thresholds import Thresholds
from honeyguard.errors import ParameterError
from honeyguard.gateway import clients, launch, ledger
from honeyguard.gateway.config import Config, Ledger, Marks, Policy
from honeyguard.gateway.metrics import Metrics
from honeyguard.gateway.policy import Suspicion
from honeyguard.gateway.recorder import Seen
from honeyguard.gateway.store import clients as table
from tests.conftest import Run
from tests.gateway.serving import IMAGES, Running, expected, guarded, running

LADDER = ("log", "slow", "perturb", "label", "block")


@pytest.fixture(scope="module")
def thresholds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PRADA with a threshold that a client who repeats one image passes at once."""
    path = tmp_path_factory.mktemp("thresholds") / "thresholds.json"
    fitted = Thresholds(
        detectors={"prada": DETECTORS["prada"]()},
        values={"prada": 0.9},
        client_day=200,
        days=1,
        false_alarms_per_client_day=0.01,
        bound=0.01,
        streams=300,
    )
    path.write_text(json.dumps(fitted.content()))
    return path


@pytest.fixture
def watched(folder: Path, tmp_path: Path, thresholds: Path) -> Iterator[Running]:
    policy = Policy(thresholds=str(thresholds), ladder=LADDER, share=1.0, patience=100, delay=0.3, perturbation="reverse_sigmoid:beta=0.9")
    with running(folder, Config(state=str(tmp_path / "state"), policy=policy)) as up:
        yield up


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def step_of(up: Running, key: str) -> int:
    with up.gateway.engine.connect() as connection:
        return int(connection.execute(select(table.c.step).where(table.c.id == key[3:15])).scalar_one())


def test_a_thief_goes_down_the_ladder_and_nobody_else(watched: Running) -> None:
    thief, customer = watched.client("thief"), watched.client("customer")
    repeated = np.repeat(IMAGES[:1], 110, 0)
    for number, step in enumerate(LADDER, 1):
        watched.infer(repeated, thief)
        until(lambda: step_of(watched, thief) == number)  # noqa: B023
        started = time.monotonic()
        response = watched.infer(key=thief)
        if step == "block":
            assert (response.status_code, response.json()["error"]) == (403, "This client is blocked. Ask the owner of the model.")
            continue
        found = np.array(response.json()["outputs"][0]["data"])
        clean = expected(IMAGES[:1])[0]
        assert (time.monotonic() - started > 0.25) == (step == "slow")
        if step == "label":
            np.testing.assert_array_equal(found, np.eye(4)[clean.argmax()])
        elif step == "perturb":
            import torch

            np.testing.assert_allclose(found, ReverseSigmoid(beta=0.9)(torch.tensor(clean[None]))[0], atol=1e-6)
        else:
            np.testing.assert_allclose(found, clean, atol=1e-6)
    np.testing.assert_allclose(watched.infer(key=customer).json()["outputs"][0]["data"], expected(IMAGES[:1])[0], atol=1e-6)
    steps = [e for e in ledger.events(watched.gateway.engine) if e["kind"] == "step"]
    assert [e["step"] for e in reversed(steps)] == list(LADDER)
    assert {e["client"] for e in steps} == {thief[3:15]}
    alarms = [e for e in ledger.events(watched.gateway.engine) if e["kind"] == "alarm"]
    assert len(alarms) == len(LADDER)
    assert alarms[0]["detector"] == "prada"
    assert alarms[0]["score"] > alarms[0]["threshold"]
    clients.forgive(watched.gateway.engine, "thief")
    assert watched.infer(key=thief).status_code == 200
    assert step_of(watched, thief) == 0
    with watched.gateway.engine.connect() as connection:
        rows = {row.name: row for row in connection.execute(select(table))}
    assert (rows["customer"].risk, rows["customer"].mode) == (0, "normal")
    ledger.verify(watched.gateway.engine)


def test_scores_stand_beside_the_queries(watched: Running) -> None:
    watched.infer(np.repeat(IMAGES[:1], 110, 0))
    until(lambda: ledger.verify(watched.gateway.engine).images == 110)
    with watched.gateway.engine.connect() as connection:
        (body,) = connection.exec_driver_sql("SELECT body FROM entries WHERE kind = 'query'").scalars()
    assert json.loads(body)["scores"]["prada"] == pytest.approx(1)


def test_memory_is_bounded_in_clients(thresholds: Path) -> None:
    watch = Suspicion(Thresholds.load(thresholds), Policy(thresholds="x", clients=3, share=1.0), Metrics())
    answers = expected(IMAGES[:2])
    for client in "abcdeabc":
        found = watch([(client, Seen(IMAGES[:2], None, answers)), (client, None)])
        assert found.scores == [{"scores": {"prada": 0.0}}, {}]
    assert list(watch._clients) == ["a", "b", "c"]


def test_thresholds_of_another_model_stop_the_start(folder: Path, tmp_path: Path) -> None:
    benign = Queries(IMAGES, IMAGES.reshape(96, -1)[:, :30], expected(IMAGES))
    fitted = {"out_of_distribution": DETECTORS["out_of_distribution"]().fit(benign)}
    figures: dict[str, Any] = {"client_day": 200, "days": 1, "false_alarms_per_client_day": 0.01, "bound": 0.01, "streams": 300}
    found = Thresholds(detectors=fitted, values={"out_of_distribution": 1.0}, **figures)
    (tmp_path / "other.json").write_text(json.dumps(found.content()))
    config = Config(state=str(tmp_path / "state"), policy=Policy(thresholds=str(tmp_path / "other.json")))
    with pytest.raises(ParameterError, match="of this model; got others: DataError with 64 features"):
        launch.build(config, folder)


def test_detectors_look_at_a_random_part_where_there_is_no_time_for_all(thresholds: Path) -> None:
    metrics = Metrics()
    watch = Suspicion(Thresholds.load(thresholds), Policy(thresholds="x", share=0.5), metrics)
    batch = [(str(i % 7), Seen(IMAGES[:2], None, expected(IMAGES[:2]))) for i in range(400)]
    watch._cost, watch._before = 1.0, time.monotonic() - 400  # a second an image, and 400 seconds since the last batch
    looked = [bool(scores) for scores in watch(batch).scores]
    assert 60 < sum(looked) < 140  # a quarter of 400 requests
    assert metrics.unwatched._value.get() == 2 * (400 - sum(looked))
    watch._cost, watch._before = 1e-9, time.monotonic() - 1
    assert all(watch(batch).scores)


def test_marks_are_told_to_one_client_and_remembered(folder: Path, tmp_path: Path, run: Run) -> None:
    state, images = tmp_path / "state", np.random.default_rng(0).random((1500, 1, 8, 8), np.float32)
    with running(folder, Config(state=str(state), marks=Marks(share=0.005), ledger=Ledger(images=True))) as up:
        other = up.client("bob")
        told = {
            name: np.concatenate([np.reshape(up.infer(part, key).json()["outputs"][0]["data"], (-1, 4)) for part in np.split(images, 6)])
            for name, key in (("alice", up.key), ("bob", other))
        }
        again = np.reshape(up.infer(images[:250]).json()["outputs"][0]["data"], (-1, 4))
    np.testing.assert_array_equal(again, told["alice"][:250])
    code, said = run("ledger", "marks", folder, "--output", tmp_path / "marks.npz", "--state", state)
    assert code == 0, said
    found, clean = load_marks(tmp_path / "marks.npz"), expected(images)
    for name, answers in told.items():
        changed = np.flatnonzero(answers.argmax(1) != clean.argmax(1))
        np.testing.assert_allclose(np.sort(answers, 1), np.sort(clean, 1), atol=1e-6)
        assert {image.tobytes() for image in found[name].images} == {image.tobytes() for image in images[changed]}
        assert set(found[name].told.tolist()) <= set(range(4))
        assert 0 < len(found[name]) < 0.02 * len(images)
        assert bool((found[name].told != found[name].hidden).all())
    assert (found["alice"].images[0] != found["bob"].images[0]).any()
    code, said = run("ledger", "verify", "--state", state)
    assert (code, "unbroken" in said) == (0, True)


def test_a_kept_log_is_replayed_through_other_detectors(folder: Path, tmp_path: Path, thresholds: Path, run: Run) -> None:
    with running(folder, Config(state=str(tmp_path / "state"), ledger=Ledger(images=True))) as up:
        thief = up.client("thief")
        for _ in range(5):
            up.infer(np.repeat(IMAGES[:1], 30, 0), thief)
            up.infer(IMAGES[:30])
    code, said = run("ledger", "replay", thresholds, "--state", tmp_path / "state")
    assert code == 0, said
    assert "thief │ prada" in said.replace("  ", " ")
    assert "120" in said


def test_a_detector_gets_thumbnails_where_the_model_gives_no_features(tmp_path: Path, thresholds: Path) -> None:
    folder = guarded(tmp_path / "guarded", outputs=("probabilities",))
    with running(folder, Config(state=str(tmp_path / "state"), policy=Policy(thresholds=str(thresholds), share=1.0))) as up:
        up.infer(np.repeat(IMAGES[:1], 110, 0))
        until(lambda: step_of(up, up.key) == 1)
        assert up.infer().status_code == 200
    assert Queries.of(IMAGES, expected(IMAGES)).features.shape == (96, 64)
