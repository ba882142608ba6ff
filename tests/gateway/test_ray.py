"""The gateway on Ray Serve: two replicas, one budget."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from honeyguard.errors import MissingExtraError
from honeyguard.gateway import launch, ledger
from honeyguard.gateway.config import Config
from honeyguard.gateway.on_ray import serve_on_ray
from honeyguard.gateway.store import open_store
from tests.gateway.serving import IMAGES, add_client, expected, question

BUDGET = 40


@pytest.mark.slow
def test_a_budget_is_exact_over_two_replicas(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.serve", reason="no Ray")
    config = Config(state=str(tmp_path / "state"))
    key = add_client(config, "alice", BUDGET)
    with launch.listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command: list[str | Path] = [sys.executable, "-m", "honeyguard", "serve", folder, "--ray", "--replicas", "2"]
    with (
        subprocess.Popen([*command, "--state", config.state, "--port", str(port)]) as server,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}) as http,
    ):
        try:
            until_ready(http, server)

            def ask(_: int) -> int:
                response = http.post("/v2/models/model/infer", json=question())
                if response.status_code == 200:
                    assert response.json()["outputs"][0]["data"] == pytest.approx(expected(IMAGES[:1])[0].tolist(), abs=1e-6)
                return response.status_code

            with ThreadPoolExecutor(8) as pool:
                statuses = list(pool.map(ask, range(2 * BUDGET)))
            journals = {path.name.partition("-")[0] for path in (tmp_path / "state" / "journal").iterdir()}
            assert http.post("/v2/models/model/infer", json=question(), headers={"X-API-Key": "hg_none"}).status_code == 401
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    assert (statuses.count(200), statuses.count(429)) == (BUDGET, BUDGET)
    assert len(journals) == 2
    engine = open_store(config.url)
    assert ledger.verify(engine).unlogged == 0
    engine.dispose()


def test_without_ray_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"honeyguard\[serve,ray\]"):
        serve_on_ray(Config(), folder, host="127.0.0.1", port=0, replicas=2)


def until_ready(http: httpx2.Client, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and server.poll() is None:
        try:
            if http.get("/v2/health/ready").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail("the replicas didn't start")
