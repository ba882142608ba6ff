"""Parts of the gateway on their own: batches, rates in Redis, tables in PostgreSQL, and the configuration that the docs show."""

import asyncio
import gzip
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace as tracing

from honeyguard.gateway import clients, ledger
from honeyguard.gateway.batching import Batcher
from honeyguard.gateway.budgets import Budgets, Wish
from honeyguard.gateway.config import Config, read
from honeyguard.gateway.ledger import Entry, Ledger
from honeyguard.gateway.observability import ENDPOINT, JsonLines, trace
from honeyguard.gateway.protocol import RequestError
from honeyguard.gateway.rates import Rates, Windows
from honeyguard.gateway.store import open_store
from honeyguard.tables import construct
from tests.gateway.serving import running

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@settings(max_examples=50, deadline=None)
@given(items=st.lists(st.integers(1, 9), max_size=40), largest=st.integers(1, 12), inline=st.sampled_from([0.0, 10.0]), alone=st.booleans())
def test_a_batcher_gives_each_its_own(items: list[int], largest: int, inline: float, alone: bool) -> None:
    batches: list[list[int]] = []

    def run(batch: list[int]) -> list[int | Exception]:
        batches.append(batch)
        return [ValueError(str(item)) if item == 7 else item * 10 for item in batch]

    async def ask() -> list[Any]:
        batcher: Batcher[int, int] = Batcher(run, largest=largest, size=lambda item: item, inline=inline)
        found = await asyncio.gather(*(batcher(item, alone=alone) for item in items), return_exceptions=True)
        batcher.close()
        return found

    found = asyncio.run(ask())
    assert [str(f) if isinstance(f, ValueError) else f for f in found] == ["7" if item == 7 else item * 10 for item in items]
    assert [item for batch in batches for item in batch] == items
    assert all(sum(batch) <= largest or len(batch) == 1 for batch in batches)


def test_a_batch_that_fails_fails_for_each_of_it_and_the_next_one_runs() -> None:
    def run(batch: list[int]) -> list[int | Exception]:
        if 0 in batch:
            raise ZeroDivisionError
        return list(batch)

    async def ask() -> list[Any]:
        batcher: Batcher[int, int] = Batcher(run, largest=2)
        found = await asyncio.gather(*(batcher(item) for item in (1, 0, 2, 3)), return_exceptions=True)
        gone = asyncio.ensure_future(batcher(4))
        await asyncio.sleep(0)
        gone.cancel()
        found.append(await batcher(5))
        batcher.close()
        return found

    found = asyncio.run(ask())
    assert [type(f) for f in found[:2]] == [ZeroDivisionError] * 2
    assert found[2:] == [2, 3, 5]


def test_the_configuration_in_the_docs_is_the_default(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert construct(Config, tomllib.loads(shown), "docs") == Config() == read(None)
    everything = re.sub(r"^# (\w+ = )", r"\1", shown, flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(everything)
    assert read(tmp_path / "all.toml").limits.rate == "600/minute"


@pytest.fixture
def redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of its own, and its URL."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}", server
        server.kill()


def test_a_window_slides() -> None:
    now = 1000.0
    windows = Windows(10, 60, lambda: now)
    assert [windows.hit("alice", 8), windows.hit("alice", 3), windows.hit("bob", 10), windows.hit("alice", 2)] == [True, False, True, True]
    now += 60 - 1000 % 60 + 30  # half of the window before still counts
    assert [windows.hit("alice", 6), windows.hit("alice", 5)] == [False, True]
    now += 60
    assert [windows.hit("alice", 8), windows.hit("alice", 7)] == [False, True]
    now += 150  # nothing is left of windows that ended long ago
    assert windows.hit("alice", 10)


def test_replicas_share_rates_in_redis_and_refuse_without_it(redis: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, server = redis
    one, two = Rates("10/hour", url), Rates("10/hour", url)

    async def hits() -> list[int]:
        statuses = []
        for rates, count in ((one, 6), (two, 5), (two, 4), (one, 1)):
            try:
                await rates("alice", count)
                statuses.append(200)
            except RequestError as error:
                statuses.append(error.status)
        server.kill()
        server.wait()
        with pytest.raises(RequestError) as refused:
            await one("bob", 1)
        return [*statuses, refused.value.status]

    assert asyncio.run(hits()) == [200, 429, 200, 429, 503]


@pytest.mark.slow
@pytest.mark.skipif(POSTGRES is None, reason="no PostgreSQL")
def test_the_same_on_postgresql(tmp_path: Path) -> None:
    prefix: list[str | Path] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        for folder in (tmp_path, *list(tmp_path.parents)[:2]):
            folder.chmod(0o755)
        (tmp_path / "db").mkdir()
        shutil.chown(tmp_path / "db", "postgres")
        prefix = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    data = tmp_path / "db" / "data"
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "cwd": tmp_path}
    subprocess.run([*prefix, f"{POSTGRES}/initdb", "-D", data, "-U", "owner", "-A", "trust", "--no-sync"], **quiet)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    options = f"-p {port} -h 127.0.0.1 -k {tmp_path / 'db'}"
    control: list[str | Path] = [*prefix, f"{POSTGRES}/pg_ctl", "-D", data, "-w", "-s"]
    subprocess.run([*control, "-o", options, "-l", tmp_path / "db" / "log", "start"], **quiet)
    try:
        engine = open_store(f"postgresql+psycopg://owner@127.0.0.1:{port}/postgres")
        client = clients.add(engine, bytes(32), "alice", 5)[3:15]
        budgets = Budgets(engine)
        found_ = budgets([Wish(client, 3), Wish(client, 3), Wish(client, 2)])
        assert [isinstance(f, RequestError) for f in found_] == [False, True, False]
        for _ in range(2):
            Ledger(engine).append([Entry(kind="query", client=client, images=5, facts={}, time=time.time())], journal="j")
        checked = ledger.verify(engine)
        assert (checked.entries, checked.images, checked.unlogged) == (1, 5, 0)
        budgets.close()
        engine.dispose()
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


def test_log_lines_are_json() -> None:
    record = logging.LogRecord("honeyguard", logging.WARNING, "x", 1, "said %s", ('"a"\n',), None)
    found = json.loads(JsonLines().format(record))
    assert (found["level"], found["message"]) == ("warning", 'said "a"\n')


@pytest.mark.slow
def test_requests_are_spans_for_the_collector_that_the_environment_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(gzip.decompress(b) if (b := self.rfile.read(int(self.headers["Content-Length"])))[:2] == b"\x1f\x8b" else b)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{server.server_port}")
        trace()
        with running(folder, Config(state=str(tmp_path))) as up:
            assert up.infer().status_code == 200
        provider = tracing.get_tracer_provider()
        provider.shutdown()  # type: ignore[attr-defined]
        server.shutdown()
    assert b"/v2/models/{model}/infer" in b"".join(bodies)
    assert up.key.encode() not in b"".join(bodies)
