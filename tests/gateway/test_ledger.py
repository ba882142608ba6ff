"""The ledger: every change shows, nothing is lost by a crash, and nothing is written twice."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from honeyguard.errors import LedgerError
from honeyguard.gateway import ledger, store
from honeyguard.gateway.config import Config
from honeyguard.gateway.journal import Journal, left_over
from honeyguard.gateway.ledger import Entry, Ledger
from honeyguard.gateway.metrics import Metrics
from honeyguard.gateway.recorder import Findings, Recorder, Seen
from honeyguard.gateway.store import open_store
from tests.gateway.serving import IMAGES, Running, running


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path}/ledger.sqlite")


def entry(n: int) -> Entry:
    return Entry(kind="query", client="c", images=n, facts={"digests": ["ab"] * n, "text": "ä\n"}, time=1e9 + n)


def filled(engine: Engine, count: int = 9) -> None:
    Ledger(engine).append([entry(n) for n in range(count)])


def test_a_chain_is_followed_to_its_head(engine: Engine) -> None:
    assert ledger.verify(engine).head == ledger.ORIGIN
    filled(engine)
    Ledger(engine).append([ledger.event("step", step="log")])
    found = ledger.verify(engine)
    assert (found.entries, found.images) == (10, 36)
    assert ledger.events(engine)[0]["step"] == "log"
    engine.dispose()


def test_a_batch_larger_than_a_statement_is_whole(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TOGETHER", 4)
    filled(engine, 11)
    filled(engine, 4)
    found = ledger.verify(engine)
    assert (found.entries, found.images) == (15, 55 + 6)
    engine.dispose()


TAMPERINGS = {
    "a body changed": "UPDATE entries SET body = replace(body, 'ab', 'cd') WHERE seq = 5",
    "a client changed": "UPDATE entries SET client = 'd' WHERE seq = 5",
    "a number changed": "UPDATE entries SET images = 0 WHERE seq = 5",
    "a time changed": "UPDATE entries SET time = 0 WHERE seq = 5",
    "a digest changed": "UPDATE entries SET digest = 'x' WHERE seq = 9",
    "the first removed": "DELETE FROM entries WHERE seq = 1",
    "one removed": "DELETE FROM entries WHERE seq = 5",
    "the end removed": "DELETE FROM entries WHERE seq > 7",
    "two swapped": "UPDATE entries SET seq = CASE seq WHEN 4 THEN 105 ELSE 104 END - 100 * (seq = 0) WHERE seq IN (4, 5)",
    "one added": "INSERT INTO entries SELECT 10, time, client, kind, images, body, digest FROM entries WHERE seq = 9",
    "the head moved": "UPDATE heads SET digest = (SELECT digest FROM entries WHERE seq = 8)",
}


@pytest.mark.parametrize("statement", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_tampering_shows(engine: Engine, statement: str) -> None:
    filled(engine)
    with engine.begin() as connection:
        connection.execute(text(statement))
    with pytest.raises(LedgerError, match="Compare with a copy"):
        ledger.verify(engine)
    engine.dispose()


def test_a_journal_is_written_once_however_often_it_is_found(engine: Engine) -> None:
    for _ in range(3):
        Ledger(engine).append([entry(1), entry(2)], journal="j")
    assert ledger.verify(engine).entries == 2
    engine.dispose()


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 5), max_size=6), cut=st.integers(0, 60))
def test_a_killed_process_s_journal_is_found_up_to_a_line_cut_short(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal: Journal[None] = Journal(folder, "me")
    for n in counts:
        journal.add(entry(n), None)
    assert left_over(folder) == []  # its process is alive
    file = journal._now.file
    length = max(0, os.lseek(file, 0, os.SEEK_CUR) - cut)
    whole, kept = 0, 0
    for n in counts:
        whole += len(entry(n).body.encode()) + 1
        kept += whole <= length
    os.ftruncate(file, length)
    fcntl.flock(file, fcntl.LOCK_UN)  # what the end of a process does
    (found,) = left_over(folder)
    assert found.entries == [entry(n) for n in counts[:kept]]
    found.done()
    os.close(file)
    assert list(folder.iterdir()) == []


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal: Journal[None] = Journal(tmp_path, "me")
    journal.add(entry(1), None)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    with pytest.raises(OSError, match="the disk is full"):
        journal.add(entry(2), None)
    monkeypatch.undo()
    journal.add(entry(3), None)
    taken = journal.take()
    assert taken is not None
    assert taken.entries == [entry(1), entry(3)]
    assert taken.path.read_text() == "".join(e.body + "\n" for e in taken.entries)
    taken.done()
    journal.close()
    assert list(tmp_path.iterdir()) == []


def recorder(engine: Engine, tmp_path: Path, **arguments: object) -> Recorder:
    return Recorder(engine, tmp_path / "journal", "me", Metrics(), **{"seconds": 0.01, "backlog": 5} | arguments)  # type: ignore[arg-type]


def test_what_a_killed_process_answered_is_in_the_ledger_after_the_next_start(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    lines = [entry(n).body + "\n" for n in (1, 2)]
    (tmp_path / "journal" / "old-1.journal").write_text(lines[0] + lines[1] + lines[0][:20])
    recorder(engine, tmp_path).close()
    found = ledger.verify(engine)
    assert (found.entries, found.images) == (3, 3)
    assert ledger.events(engine)[0] | {"time": 0} == {
        "kind": "recovered",
        "client": None,
        "images": 0,
        "journal": "old-1",
        "requests": 2,
        "time": 0,
    }
    assert list((tmp_path / "journal").iterdir()) == []
    engine.dispose()


def test_a_watcher_that_fails_costs_the_scores_and_not_the_ledger(engine: Engine, tmp_path: Path) -> None:
    def fails(_: object) -> Findings:
        raise ZeroDivisionError

    running = recorder(engine, tmp_path, watcher=fails)
    running.add(entry(1), Seen(IMAGES[:1], None, IMAGES[:1, 0, 0]))
    running.close()
    assert ledger.verify(engine).images == 1
    assert ledger.events(engine)[0]["error"] == "ZeroDivisionError"
    engine.dispose()


def test_scores_and_kept_images_stand_in_the_ledger(engine: Engine, tmp_path: Path) -> None:
    def watcher(batch: list[object]) -> Findings:
        return Findings([{"scores": {"prada": 0.5}}] * len(batch))

    running = recorder(engine, tmp_path, watcher=watcher, keep=lambda seen: seen.images.tobytes())
    running.add(entry(1), Seen(IMAGES[:1], None, IMAGES[:1, 0, 0]))
    running.close()
    ((client, content),) = ledger.kept(engine)
    assert (client, content) == ("c", IMAGES[:1].tobytes())
    with engine.connect() as connection:
        assert '"scores":{"prada":0.5}' in connection.execute(text("SELECT body FROM entries")).scalar_one()
    engine.dispose()


def test_every_query_of_a_running_gateway_is_in_the_ledger(folder: Path, tmp_path: Path) -> None:
    config = Config(state=str(tmp_path))
    with running(folder, config) as up:
        for n in (1, 5, 7):
            up.infer(IMAGES[:n])
    engine = open_store(config.url)
    found = ledger.verify(engine)
    assert (found.entries, found.images, found.unlogged) == (3, 13, 0)
    with engine.connect() as connection:
        bodies = list(connection.execute(text("SELECT body FROM entries ORDER BY seq")).scalars())
    assert bodies[1].count('","') >= 4
    assert all('"mode":"normal"' in body for body in bodies)
    engine.dispose()


def test_the_gateway_refuses_what_it_can_not_note(up: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda file, data: 0)
    response = up.infer()
    assert response.status_code == 503
    assert response.json()["error"].startswith("The journal can't be written; nothing was answered.")
    monkeypatch.undo()
    assert up.infer().status_code == 200
    up.gateway.recorder._backlog, kept = 0, up.gateway.recorder._backlog
    response = up.infer()
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert up.send("GET", "/v2/health/ready").status_code == 503
    up.gateway.recorder._backlog = kept
    assert replace(up, key="").send("GET", "/v2/health/ready").status_code == 200
