"""What breaks shows nothing: no raw probability, no inside of the server; and what can't start says why in one line."""

import logging
import socket
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.exc import OperationalError

from honeyguard import artifacts
from honeyguard.checks import tiny_victim
from honeyguard.defenses import ReverseSigmoid
from honeyguard.errors import ArtifactError, HoneyguardError, ModelError, ParameterError, ServeError, StoreError
from honeyguard.gateway import launch, ledger
from honeyguard.gateway.app import create_app
from honeyguard.gateway.backend import BrokenModelError, checked, open_folder
from honeyguard.gateway.config import Config, Limits, read
from honeyguard.gateway.store import open_store
from honeyguard.types import Protected
from tests.conftest import Run
from tests.gateway.serving import IMAGES, NAMES, Running, expected, guarded, network, running


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 2.0])
def test_answers_that_are_no_distributions_are_never_shown(up: Running, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    run = vars(up.gateway.backend)["_run"]

    def broken(images: Any) -> Any:
        answers = run(images)
        probabilities = answers.probabilities.copy()
        probabilities[-1, 0] = value
        return replace(answers, probabilities=probabilities)

    monkeypatch.setattr(up.gateway.backend, "_run", broken)
    response = up.infer(IMAGES[:3])
    assert (response.status_code, response.json()) == (500, {"error": "The model gave no valid answer; nothing of it is shown."})


@pytest.mark.parametrize("answers", [np.ones((2, 4)), np.full((3, 4), 0.2), np.full((3, 3), 1 / 3), np.zeros((3, 4))])
def test_shapes_and_sums_are_checked(answers: Any) -> None:
    with pytest.raises(BrokenModelError):
        checked(answers.astype(np.float32), 3, 4)


def test_a_crash_says_nothing_of_the_inside(up: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def crash(_: Any) -> Any:
        raise RuntimeError(f"secret {up.key} at /inside/path")

    monkeypatch.setattr(up.gateway.backend, "_run", crash)
    with caplog.at_level(logging.DEBUG):
        assert up.infer().json() == {"error": "The model gave no valid answer; nothing of it is shown."}
        monkeypatch.setattr(up.gateway, "infer", crash)
        response = up.infer()
    assert (response.status_code, response.json()) == (500, {"error": "Internal error; nothing was answered."})
    assert "model: RuntimeError" in caplog.messages


@pytest.mark.parametrize("debug", [{"X-Debug": "1"}, {"Accept": "text/html"}, {"X-HTTP-Method-Override": "PUT"}])
def test_no_flag_or_header_opens_anything(up: Running, debug: dict[str, str]) -> None:
    response = up.send("POST", "/v2/models/model/infer?debug=true&raw=1", headers=debug, json={"raw": True})
    assert response.status_code == 400
    assert {k.lower() for k in response.headers} <= {"date", "content-length", "content-type"}
    for path in ("/metrics", "/debug", "/docs", "/redoc", "/v2/repository/index", "/dashboard", "/admin", "/../secret"):
        assert up.send("GET", path, headers=debug).status_code == 404


def test_a_database_that_is_gone_refuses_and_comes_back(up: Running) -> None:
    key = up.client("patient")
    assert up.infer().status_code == 200
    with sqlite3.connect(up.state / "gateway.sqlite", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        for stranger in (up.key, key):
            response = up.infer(key=stranger)
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert up.send("GET", "/v2/health/ready").status_code == 503
        assert up.send("GET", "/v2/health/live").status_code == 200
        other.execute("ROLLBACK")
    other.close()
    assert [up.infer(key=k).status_code for k in (up.key, key)] == [200, 200]
    assert up.send("GET", "/v2/health/ready").status_code == 200


def test_what_was_answered_while_the_ledger_was_gone_is_written_later(folder: Path, tmp_path: Path) -> None:
    config, broken = Config(state=str(tmp_path)), threading.Event()

    def fail(_: Any, __: Any, statement: str, *___: Any) -> None:
        if broken.is_set() and "heads" in statement:
            raise OperationalError("x", {}, Exception("gone"))

    with running(folder, config) as up:
        sqlalchemy_event.listen(up.gateway.engine, "before_cursor_execute", fail)
        broken.set()
        assert up.infer(IMAGES[:5]).status_code == 200
        assert up.infer(IMAGES[:5]).status_code == 200
        broken.clear()
    engine = open_store(config.url)
    assert ledger.verify(engine).images == 10
    engine.dispose()


def test_the_python_module_answers_where_there_is_no_graph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    victim = tiny_victim()
    artifacts.save(Protected.of(victim), tmp_path / "built-in", shape=(1, 8, 8), names=NAMES)
    with running(tmp_path / "built-in", Config(state=str(tmp_path / "state"))) as up:
        found = up.infer(IMAGES).json()["outputs"][0]["data"]
    with torch.no_grad():
        np.testing.assert_allclose(found, Protected.of(victim).model(torch.tensor(IMAGES)).flatten(), atol=1e-6)
    assert "no model.onnx" in caplog.text
    artifacts.save(Protected.of(network()), tmp_path / "own", shape=(1, 8, 8), names=NAMES)
    with pytest.raises(ModelError, match="never says which code to run"):
        open_folder(tmp_path / "own")


def test_what_honeyguard_exports_is_served(tmp_path: Path) -> None:
    protected = ReverseSigmoid(beta=0.9).protect(tiny_victim())
    artifacts.save(protected, tmp_path / "guarded", shape=(1, 8, 8), names=NAMES)
    with running(tmp_path / "guarded", Config(state=str(tmp_path / "state"))) as up:
        found = up.infer(IMAGES).json()["outputs"][0]["data"]
        assert up.gateway.backend.defenses == ("ReverseSigmoid",)
    with torch.no_grad():
        np.testing.assert_allclose(found, protected.model(torch.tensor(IMAGES)).flatten(), atol=5e-4)


def test_micro_batches_give_everybody_their_own(up: Running) -> None:
    import asyncio

    async def ask() -> list[Any]:
        return await asyncio.gather(*(up.gateway.backend(IMAGES[i : i + 1 + i % 3]) for i in range(90)))

    for i, answers in enumerate(asyncio.run(ask())):
        images = IMAGES[i : i + 1 + i % 3]
        np.testing.assert_allclose(answers.probabilities, expected(images), atol=1e-6)
        np.testing.assert_allclose(answers.features, images.reshape(len(images), -1))


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "model.onnx"])
def test_a_missing_or_damaged_artifact_stops_the_start(tmp_path: Path, name: str) -> None:
    folder = guarded(tmp_path / "guarded")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-5])
    with pytest.raises(ArtifactError):
        launch.build(Config(state=str(tmp_path / "state")), folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError):
        launch.build(Config(state=str(tmp_path / "state")), folder)
    assert not (tmp_path / "state").exists()


def test_a_graph_of_something_else_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'probabilities'; got .*logits"):
        open_folder(guarded(tmp_path / "guarded", outputs=("logits",)))


def test_a_model_that_answers_nan_fails_closed(tmp_path: Path) -> None:
    with running(guarded(tmp_path / "guarded", scale=float("nan")), Config(state=str(tmp_path / "state"))) as up:
        response = up.infer(IMAGES[:3])
    assert (response.status_code, response.json()) == (500, {"error": "The model gave no valid answer; nothing of it is shown."})


def test_a_port_in_use_stops_the_start_in_one_line(folder: Path, tmp_path: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = run("serve", folder, "--state", tmp_path / "s", "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "honeyguard: expected a free port" in said
    assert "Traceback" not in said
    with pytest.raises(ServeError, match="a free port"):
        launch.listen("256.1.1.1", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ports = 1", "unknown|a known key of configuration .*'ports'"),
        ("[limits]\nbodies = 1", "a known key of configuration.limits .*'bodies'. Did you mean 'body'"),
        ("[limits]\nbody = 'x'", "int at configuration.limits.body; got 'x'"),
        ("[limits]\nbody = 0", "body above 0"),
        ("[limits]\nrate = 'often'", "limits.rate like 600/minute; got 'often'"),
        ("[limits]\nrate = '1/minute'\nrate_store = 'redis://127.0.0.1:1'", "a store of rates"),
        ("[limits]\nrate = '1/minute'\nrate_store = 'nonsense://'", "limits.rate_store"),
        ("[policy]\nladder = ['shout']", "a known step of policy.ladder"),
        ("[policy]\nladder = ['block', 'log']", "in the order log, slow"),
        ("[policy]\nthresholds = 'none.json'", "a thresholds file"),
        ("[policy]\nladder = ['perturb']\nperturbation = 'rounding:decimals=99'", "decimals between 1 and 6"),
        ("[policy]\nshare = 0.0", "policy.share above 0"),
        ("[marks]\nshare = 0.1", "marks.share between 0 and 0.005"),
        ("database = 'nonsense'", "a database"),
        ("database = 'oracle://x:secret@y/z'", "a database"),
        ("database = 'postgresql+psycopg://u:secret@127.0.0.1:1/x'", "a database; got none at 127.0.0.1:1/x"),
        ("database = 'sqlite:////proc/none/x.sqlite'", "a database"),
        ("state = '/proc/none'", "expected"),
        ("= 3", "a configuration in TOML"),
    ],
)
def test_a_configuration_that_can_not_be_stops_the_start_in_one_line(folder: Path, tmp_path: Path, run: Run, text: str, said: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text if text.startswith("state") else text if text.startswith("=") else f"state = '{tmp_path}/s'\n{text}")
    code, printed = run("serve", folder, "--config", file, "--port", "0")
    assert code == 2
    assert printed.count("honeyguard: expected") == 1
    assert "Traceback" not in printed
    assert "secret" not in printed.replace("server's secret", "")
    with pytest.raises(HoneyguardError, match=said):
        launch.build(read(file), folder)


def test_neither_model_nor_upstream_stops_the_start(folder: Path) -> None:
    for config, named in ((Config(), None), (Config(upstream="http://x"), folder)):
        with pytest.raises(ParameterError, match="a guarded folder or --upstream"):
            launch.build(config, named)


def test_tables_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.sqlite"
    engine = open_store(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(StoreError, match="a database"):
        open_store(url)


def test_tls_without_a_certificate_stops_the_start(up: Running, tmp_path: Path) -> None:
    app = create_app(up.gateway)
    with pytest.raises(ServeError, match="--tls-cert"):
        launch.server_config(app, Config(), tmp_path / "none.pem", tmp_path / "none.key")


def test_limits_have_defaults_that_hold() -> None:
    assert all(value > 0 for value in vars(Limits()).values() if isinstance(value, int | float))


def test_clients_on_the_command_line(folder: Path, tmp_path: Path, run: Run) -> None:
    state = ("--state", tmp_path / "s")
    code, key = run("clients", "add", "alice", "--budget", "3", *state)
    assert (code, key[:3]) == (0, "hg_")
    with running(folder, Config(state=str(tmp_path / "s")), name="other") as up:
        assert up.infer(IMAGES[:3], key).status_code == 200
        assert run("clients", "revoke", "alice", *state)[0] == 0
        assert up.infer(key=key).status_code == 403
    assert "alice" in run("clients", "list", *state)[1]
    assert "revoked" in run("clients", "list", *state)[1]
    assert run("clients", "forgive", "other", *state)[0] == 0
    code, said = run("ledger", "verify", *state)
    assert code == 0
    assert "1 entries, 3 images, unbroken." in said
    code, said = run("clients", "revoke", "nobody", *state)
    assert (code, said) == (2, "honeyguard: expected the name of a client; got 'nobody'. See them all: honeyguard clients list.")
