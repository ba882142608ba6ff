"""Who gets an answer: nobody without a key, nobody beyond a budget, a rate or a limit, however many ask at once."""

import hmac
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from honeyguard.errors import ClientError, OutputError, ParameterError
from honeyguard.gateway import clients
from honeyguard.gateway.budgets import Budgets, Wish
from honeyguard.gateway.config import Config, Limits
from honeyguard.gateway.protocol import RequestError
from honeyguard.gateway.store import clients as table
from honeyguard.gateway.store import open_store
from tests.gateway.serving import IMAGES, Running, question, running

SECRET = bytes(32)


def spent(up: Running, key: str) -> int:
    with up.gateway.engine.connect() as connection:
        return int(connection.execute(select(table.c.spent).where(table.c.id == key[3:15])).scalar_one())


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic eDp5"}, {"X-API-Key": "hg_1"}])
def test_no_route_but_health_answers_without_a_key(up: Running, headers: dict[str, str]) -> None:
    document = up.send("GET", "/openapi.json").json()
    routes = [(method, path) for path, methods in document["paths"].items() for method in methods]
    assert len(routes) >= 10
    for method, path in routes:
        path = path.replace("{model}", "model").replace("{version}", "1")
        response = up.send(method.upper(), path, "", headers=headers, json=question())
        open_to_all = path.startswith("/v2/health/")
        assert response.status_code == (200 if open_to_all else 401), path
        assert open_to_all or response.headers["www-authenticate"] == "Bearer"


def test_a_wrong_key_of_a_known_client_is_nobody_s(up: Running) -> None:
    other = up.client("other")
    for key in (up.key[:-1] + ("x" if up.key[-1] != "x" else "y"), up.key[:15] + other[15:], up.key + "a", up.key.upper()):
        assert up.infer(key=key).status_code == 401
    assert up.infer(key=other).status_code == 200


def test_a_key_is_compared_in_constant_time_and_stored_as_a_keyed_hash(up: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(a: str, b: str) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for key in (up.key, "hg_unknown", "hg_000000000000_" + "a" * 32):
        up.infer(key=key)
    assert len(compared) == 3
    assert all(len(a) == len(b) == 64 for a, b in compared)
    stored = (up.state / "gateway.sqlite").read_bytes() + (up.state / "gateway.sqlite-wal").read_bytes()
    assert up.key[3:15].encode() in stored
    assert up.key[16:].encode() not in stored
    assert stat.S_IMODE((up.state / "secret").stat().st_mode) == 0o600


def test_a_revoked_key_ends_at_once(up: Running) -> None:
    key = up.client("leaver")
    assert up.infer(key=key).status_code == 200
    clients.revoke(up.gateway.engine, "leaver")
    for response in (up.infer(key=key), up.send("GET", "/v2", key)):
        assert response.status_code == 403
        assert "revoked" in response.json()["error"]
    assert spent(up, key) == 1


def test_a_budget_is_spent_to_the_last_query_and_no_further(up: Running) -> None:
    key = up.client("small", budget=5)
    assert up.infer(IMAGES[:3], key).status_code == 200
    refused = up.infer(IMAGES[:3], key)
    assert refused.status_code == 429
    assert "at most 2 more images in this client's budget of 5; got 3" in refused.json()["error"]
    assert up.infer(IMAGES[:2], key).status_code == 200
    assert up.infer(key=key).status_code == 429
    assert up.send("GET", "/v2/models/model", key).status_code == 200
    assert spent(up, key) == 5


def test_malformed_questions_cost_nothing(up: Running) -> None:
    key = up.client("clumsy", budget=5)
    assert up.send("POST", "/v2/models/model/infer", key, json={}).status_code == 400
    assert spent(up, key) == 0


def test_many_at_once_spend_exactly_the_budget(up: Running) -> None:
    key = up.client("racer", budget=50)
    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(lambda _: up.infer(IMAGES[:3], key).status_code, range(40)))
    assert statuses.count(200) == 16
    assert spent(up, key) == 48


def test_two_replicas_race_for_the_last_query(up: Running, folder: Path) -> None:
    with running(folder, up.gateway.config, name="second") as other:
        for turn in range(3):
            key = up.client(f"runner {turn}", budget=7)
            with ThreadPoolExecutor(8) as threads:
                statuses = list(threads.map(lambda i: (up, other)[i % 2].infer(key=key).status_code, range(20)))  # noqa: B023
            assert statuses.count(200) == spent(up, key) == 7


def test_a_batch_of_wishes_is_granted_as_far_as_the_budget_goes(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/a.sqlite")
    ids = [clients.add(engine, SECRET, name, budget)[3:15] for name, budget in (("a", 5), ("b", None))]
    budgets = Budgets(engine)
    found = budgets([Wish(ids[0], 3), Wish(ids[1], 100), Wish(ids[0], 3), Wish(ids[0], 2), Wish("nobody", 1)])
    assert [isinstance(f, RequestError) for f in found] == [False, False, True, False, True]
    with engine.begin() as connection:
        connection.execute(update(table).where(table.c.name == "b").values(mode="block"))
    (blocked,) = budgets([Wish(ids[1], 1)])
    assert isinstance(blocked, RequestError)
    assert (blocked.status, blocked.text) == (403, "This client is blocked. Ask the owner of the model.")
    clients.forgive(engine, "b")
    assert budgets([Wish(ids[1], 1)]) == ["normal"]
    budgets.close()
    engine.dispose()


def test_clients_that_can_not_be(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/a.sqlite")
    clients.add(engine, SECRET, "a")
    with pytest.raises(ClientError, match="which is taken"):
        clients.add(engine, SECRET, "a")
    for name, budget in (("", None), ("x" * 65, None), ("a\nb", None), ("<b>", None), ("b", 0), ("b", -1), ("b", 1 << 62)):
        with pytest.raises(ParameterError):
            clients.add(engine, SECRET, name, budget)
    for act in (clients.revoke, clients.forgive):
        with pytest.raises(ClientError, match="honeyguard clients list"):
            act(engine, "nobody")
    engine.dispose()


def test_a_damaged_secret_is_noticed(tmp_path: Path) -> None:
    first = clients.server_secret(tmp_path)
    assert first == clients.server_secret(tmp_path)
    for content in ("", "xyz", "ab" * 31):
        (tmp_path / "secret").write_text(content)
        with pytest.raises(OutputError, match="Restore it"):
            clients.server_secret(tmp_path)


TIGHT = Limits(body=20_000, batch=8, seconds=2.0, upload=0.3, concurrency=4, per_client=2)


@pytest.fixture(scope="module")
def tight(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(folder, Config(state=str(tmp_path_factory.mktemp("tight")), limits=TIGHT)) as found:
        yield found


def test_large_bodies_and_batches_are_refused(tight: Running) -> None:
    assert tight.infer(IMAGES[:9]).status_code == 413
    for body in (b"x" * 20_001, iter([b"x" * 12_000] * 2)):
        response = tight.send("POST", "/v2/models/model/infer", content=body)
        assert response.status_code == 413
        assert response.headers["connection"] == "close"
    assert tight.infer(IMAGES[:8]).status_code == 200


def test_a_slow_loris_is_cut_off(tight: Running) -> None:
    host, port = tight.url.removeprefix("http://").split(":")
    head = f"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\nX-API-Key: {tight.key}\r\nContent-Length: 100\r\n"
    for start, answer in ((b"", b""), (b"POST /v2", b""), (head.encode(), b""), (head.encode() + b"\r\n{", b"HTTP/1.1 408 ")):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(start)
            began = time.monotonic()
            assert connection.recv(100)[:13] == answer
            assert time.monotonic() - began < 2
    assert tight.infer().status_code == 200


@pytest.fixture
def gate(tight: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The model, in its thread, waits until this is set."""
    backend, opened = vars(tight.gateway.backend), threading.Event()
    run = backend["_run"]

    def waits(images: Any) -> Any:
        assert opened.wait(30)
        return run(images)

    monkeypatch.setattr(tight.gateway.backend, "_run", waits)
    monkeypatch.setattr(backend["_batcher"], "_seconds", 1.0)
    yield opened
    opened.set()


def test_too_many_at_a_time_are_sent_away(tight: Running, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tight.gateway, "config", replace(tight.gateway.config, limits=replace(TIGHT, seconds=30.0)))
    others = [tight.client(f"crowd {i}") for i in range(3)]
    with ThreadPoolExecutor(10) as threads:
        mine = [threads.submit(tight.infer) for _ in range(4)]
        refused = {done.result().status_code for done in islice(as_completed(mine), 2)}
        crowd = [threads.submit(tight.infer, key=key) for key in others * 2]
        sent_away = {done.result().status_code for done in islice(as_completed(crowd), 4)}
        gate.set()
        statuses = sorted(done.result().status_code for done in (*mine, *crowd))
    assert (refused, sent_away) == ({429}, {503})
    assert statuses == [200] * 4 + [429] * 2 + [503] * 4
    assert tight.gateway.busy == 0


@pytest.mark.usefixtures("gate")
def test_what_takes_too_long_is_given_up(tight: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tight.gateway, "config", replace(tight.gateway.config, limits=replace(TIGHT, seconds=0.1)))
    response = tight.infer()
    assert (response.status_code, response.json()["error"]) == (504, "No answer within 0.1 seconds.")


def test_rates(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(folder, Config(state=str(tmp_path), limits=Limits(rate="10/hour"))) as up:
        other = up.client("other")
        assert up.infer(IMAGES[:8]).status_code == 200
        refused = up.infer(IMAGES[:3])
        assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
        assert "10 per 1 hour" in refused.json()["error"]
        assert spent(up, up.key) == 8
        assert up.infer(IMAGES[:10], other).status_code == 200
        now = time.time
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now() + 86_400)  # the wall clock has no say
            assert up.infer(IMAGES[:3]).status_code == 429
