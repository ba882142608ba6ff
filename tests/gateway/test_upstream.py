"""In front of a server that is already there: defended answers, and nothing of what upstream said."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from honeyguard.defenses import ReverseSigmoid
from honeyguard.errors import OracleError, ParameterError, UnknownNameError
from honeyguard.gateway import launch
from honeyguard.gateway.config import Config, Limits
from tests.gateway.serving import IMAGES, Running, expected, running
from tests.oip_server import OipServer, answers, body, die, hang, status

DEFENSE = "reverse_sigmoid:beta=0.9"


def raw(images: Tensor) -> Tensor:
    return torch.tensor(expected(images))


@pytest.fixture(scope="module")
def server() -> Iterator[OipServer]:
    with OipServer(raw, key="upstream-secret") as found:
        yield found


@pytest.fixture(scope="module")
def front(server: OipServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = Config(
        state=str(tmp_path_factory.mktemp("state")),
        upstream=server.url,
        upstream_model="victim",
        defenses=(DEFENSE,),
        limits=Limits(seconds=1.0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONEYGUARD_UPSTREAM_KEY", "upstream-secret")
        with running(None, config) as found:
            yield found


def test_no_client_sees_what_upstream_answered(front: Running) -> None:
    found = np.array(front.infer(IMAGES).json()["outputs"][0]["data"]).reshape(-1, 4)
    defended = ReverseSigmoid(beta=0.9)(raw(torch.tensor(IMAGES)))
    np.testing.assert_allclose(found, defended, atol=1e-6)
    assert np.abs(found - expected(IMAGES)).max() > 0.05


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (status(500, "Traceback: /opt/model/secret.py"), 502, "The model's server refused the query."),
        (status(401, "bad key upstream-secret"), 502, "The model's server refused the query."),
        (status(404), 502, "The model's server refused the query."),
        (status(429), 503, "The model's server is overloaded. Try again later."),
        (status(503), 503, "The model's server is overloaded. Try again later."),
        (body("<html>"), 502, "The model's server gave no valid answer."),
        (die, 502, "The model's server gave no valid answer."),
        (hang(1.5), 504, None),
        (answers(lambda y: y * float("nan")), 502, "The model's server gave no valid answer."),
        (answers(lambda y: y * 10 - 3), 502, "The model's server gave no valid answer."),
        (answers(lambda y: torch.cat([y, y * 0], 1)), 500, "The model gave no valid answer; nothing of it is shown."),
    ],
)
def test_upstream_s_errors_come_without_its_inside(
    front: Running, server: OipServer, caplog: pytest.LogCaptureFixture, fault: Any, code: int, said: str | None
) -> None:
    server.faults.append(fault)
    with caplog.at_level(logging.INFO, "honeyguard"):
        response = front.infer(IMAGES[:2])
    assert response.status_code == code
    assert response.json().keys() == {"error"}
    assert said in {None, response.json()["error"]}
    assert "secret" not in response.text + str(response.headers) + caplog.text
    assert front.infer(IMAGES[:2]).status_code == 200


def test_readiness_is_upstream_s_too(front: Running) -> None:
    assert front.send("GET", "/v2/health/ready").status_code == 503  # this upstream has no such route
    assert front.send("GET", "/v2/health/live").status_code == 200


def test_a_fixed_batch_of_upstream_is_kept_to(tmp_path: Path) -> None:
    inputs = [{"name": "images", "datatype": "FP32", "shape": [5, 1, 8, 8]}]
    outputs = [{"name": "probabilities", "datatype": "FP32", "shape": [5, 4]}]
    with OipServer(raw, metadata={"inputs": inputs, "outputs": outputs}, binary=False) as server:
        config = Config(state=str(tmp_path), upstream=server.url, model="victim")
        with running(None, config) as front:
            response = front.send(
                "POST",
                "/v2/models/victim/infer",
                json={"inputs": [inputs[0] | {"shape": [12, 1, 8, 8], "data": IMAGES[:12].ravel().tolist()}]},
            )
            np.testing.assert_allclose(np.reshape(response.json()["outputs"][0]["data"], (-1, 4)), expected(IMAGES[:12]), atol=1e-6)
        assert server.inferences == 3


def test_what_can_not_be_stood_in_front_of_stops_the_start(server: OipServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(state=str(tmp_path), upstream=server.url, upstream_model="victim")
    monkeypatch.delenv("HONEYGUARD_UPSTREAM_KEY", raising=False)
    with pytest.raises(OracleError, match="status 200 from upstream; got 401"):
        launch.build(config)
    monkeypatch.setenv("HONEYGUARD_UPSTREAM_KEY", "upstream-secret")
    for changed, error, said in (
        ({"upstream_model": "other"}, OracleError, "got 404"),
        ({"upstream": "http://127.0.0.1:1"}, OracleError, "an upstream server; got none"),
        ({"upstream": "nonsense"}, OracleError, "an upstream server"),
        ({"defenses": ("reverse",)}, UnknownNameError, "Did you mean 'reverse_sigmoid'"),
        ({"defenses": ("honeypot",)}, ParameterError, "output defenses"),
        ({"defenses": ("rounding:decimals=",)}, ParameterError, "name:parameter=value"),
    ):
        with pytest.raises(error, match=said):
            launch.build(replace(config, **changed))
