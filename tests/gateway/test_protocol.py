"""The protocol: real clients get the model's answers, and every misuse a useful error of the right status."""

import asyncio
import json
import socket
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from tritonclient import http as triton
from tritonclient.http import aio as triton_aio

from honeyguard.client import Remote
from honeyguard.errors import OracleError
from honeyguard.wire import LENGTH
from tests.gateway.serving import IMAGES, Running, expected, question


def tensors(binary: bool, module: Any = triton) -> tuple[list[Any], list[Any]]:
    source = module.InferInput("images", list(IMAGES.shape), "FP32")
    source.set_data_from_numpy(IMAGES, binary_data=binary)
    return [source], [module.InferRequestedOutput("probabilities", binary_data=binary)]


@pytest.mark.parametrize("binary", [True, False])
def test_triton_s_own_client_gets_the_model_s_answers(up: Running, binary: bool) -> None:
    headers = {"Authorization": f"Bearer {up.key}"}
    with triton.InferenceServerClient(up.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("model", headers=headers)
        assert client.is_model_ready("model", "1", headers=headers)
        assert client.get_server_metadata(headers=headers)["extensions"] == ["binary_tensor_data"]
        assert client.get_model_metadata("model", headers=headers)["inputs"][0]["shape"] == [-1, 1, 8, 8]
        inputs, outputs = tensors(binary)
        for asked in (outputs, None):
            found = client.infer("model", inputs, outputs=asked, request_id="mine", headers=headers)
            np.testing.assert_allclose(found.as_numpy("probabilities"), expected(IMAGES), atol=1e-6)
            assert (found.get_response()["id"], found.get_response()["model_version"]) == ("mine", "1")
        with pytest.raises(triton.InferenceServerException, match="expected the model 'model'"):
            client.infer("other", inputs, headers=headers)


@pytest.mark.parametrize("binary", [True, False])
def test_triton_s_asynchronous_client_too(up: Running, binary: bool) -> None:
    async def ask() -> list[Any]:
        async with triton_aio.InferenceServerClient(up.url.removeprefix("http://")) as client:
            inputs, outputs = tensors(binary, triton_aio)
            headers = {"X-API-Key": up.key}
            return await asyncio.gather(*(client.infer("model", inputs, outputs=outputs, headers=headers) for _ in range(20)))

    for found in asyncio.run(ask()):
        np.testing.assert_allclose(found.as_numpy("probabilities"), expected(IMAGES), atol=1e-6)


@pytest.mark.parametrize("binary", [True, False, None])
def test_our_own_client_too(up: Running, binary: bool | None) -> None:
    with Remote(up.url, "model", api_key=up.key, binary=binary, batch=32) as remote:
        np.testing.assert_allclose(remote(torch.tensor(IMAGES)), expected(IMAGES), atol=1e-6)
    with Remote(up.url, "model/versions/1", api_key=up.key) as remote:
        assert remote.signature.classes == 4
    with Remote(up.url, "model", api_key="hg_none") as remote, pytest.raises(OracleError, match="status 401"):
        remote(torch.tensor(IMAGES))


def test_a_binary_answer_to_a_json_question_and_back(up: Running) -> None:
    asked = question() | {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}
    default = question() | {"parameters": {"binary_data_output": True}}
    for content in (asked, default):
        response = up.send("POST", "/v2/models/model/versions/1/infer", json=content)
        header, raw = response.content[: int(response.headers[LENGTH])], response.content[int(response.headers[LENGTH]) :]
        assert json.loads(header)["outputs"][0]["parameters"] == {"binary_data_size": 16}
        np.testing.assert_allclose(np.frombuffer(raw, "<f4")[None], expected(IMAGES[:1]), atol=1e-6)
    header = json.dumps({"inputs": [TENSOR | {"parameters": {"binary_data_size": 256}}]}).encode()
    response = up.send("POST", "/v2/models/model/infer", content=header + IMAGES[:1].tobytes(), headers={LENGTH: str(len(header))})
    np.testing.assert_allclose([response.json()["outputs"][0]["data"]], expected(IMAGES[:1]), atol=1e-6)


TENSOR = {"name": "images", "datatype": "FP32", "shape": [1, 1, 8, 8]}
DATA = [0.5] * 64


def changed(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{k: v for k, v in (TENSOR | {"data": DATA} | fields).items() if v is not ...}]}


MISUSE: list[tuple[Any, int, str]] = [
    (b"", 400, "expected JSON"),
    (b"{", 400, "expected JSON"),
    (b"[" * 100_000, 400, "expected JSON"),
    (b"\xff\xfe", 400, "expected JSON"),
    ([], 400, "an object as the request; got []"),
    ({}, 400, "'inputs' with the one tensor 'images'; got none"),
    ({"inputs": []}, 400, "got 0 tensors"),
    ({"inputs": [TENSOR, TENSOR]}, 400, "got 2 tensors"),
    ({"inputs": [3]}, 400, "an object as the input; got 3"),
    (changed(name="x"), 400, "the input 'images'; got 'x'"),
    (changed(name=...), 400, "got nothing"),
    (changed(datatype="UINT8"), 400, "the datatype 'FP32'; got 'UINT8'"),
    (changed(datatype="BYTES", data=["a"]), 400, "the datatype 'FP32'"),
    (changed(shape=[1, 64]), 400, "a shape [N, 1, 8, 8]"),
    (changed(shape=[0, 1, 8, 8], data=[]), 400, "N ≥ 1"),
    (changed(shape=[-1, 1, 8, 8]), 400, "N ≥ 1"),
    (changed(shape=[1.0, 1, 8, 8]), 400, "a shape"),
    (changed(shape=[True, 1, 8, 8]), 400, "a shape"),
    (changed(shape="1188"), 400, "a shape"),
    (changed(shape=[10**30, 1, 8, 8]), 400, "got [1e+30, 1, 8, 8]"),
    (changed(shape=[2**62, 1, 8, 8]), 413, "at most 256 images"),
    (changed(shape=[257, 1, 8, 8], data=DATA * 257), 413, "at most 256 images"),
    (changed(data=...), 400, "64 numbers, flat or nested; got none"),
    (changed(data=DATA[1:]), 400, "got shape [63]"),
    (changed(data=[DATA, DATA[1:]]), 400, "ragged"),
    (changed(data=[*DATA[1:], [0.5]]), 400, "got a ragged list"),
    (changed(data=[[DATA]]), 400, "got shape [1, 1, 64]"),
    (changed(data=["0.5"] * 64), 400, "something else than numbers"),
    (changed(data=[True] * 64), 400, "something else than numbers"),
    (changed(data=[None] * 64), 400, "something else than numbers"),
    (changed(data={"a": 1}), 400, "something else than numbers"),
    (changed(data=[1e300] * 64), 400, "values from inf to inf"),
    (changed(data=[255.0] * 64), 400, "Divide bytes by 255"),
    (changed(data=[-0.1] * 64), 400, "values from -0.1 to -0.1"),
    (changed(data=[2**70] * 64), 400, "expected"),
    (changed(parameters=3), 400, "an object as 'parameters'"),
    (changed(parameters={"shared_memory_region": "x"}), 400, "shared memory"),
    (changed(parameters={"binary_data_size": 256}), 400, "binary data after the JSON"),
    (changed() | {"id": 3}, 400, "a string of at most 256 characters as 'id'; got 3"),
    (changed() | {"id": "x" * 257}, 400, "at most 256 characters"),
    (changed() | {"outputs": 3}, 400, "'outputs' with 'probabilities' alone; got 3"),
    (changed() | {"outputs": ["probabilities"]}, 400, "an object as the output"),
    (changed() | {"outputs": [{"name": "features"}]}, 400, "the output 'probabilities'; got 'features'"),
    (changed() | {"outputs": [{"name": "logits"}]}, 400, "the output 'probabilities'"),
    (changed() | {"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}, 400, "classification extension"),
    (changed() | {"outputs": [{"name": "probabilities", "parameters": {"shared_memory_region": "x"}}]}, 400, "shared memory"),
]


@pytest.mark.parametrize(("content", "status", "said"), MISUSE, ids=[said for _, _, said in MISUSE])
def test_misuse_gets_the_protocol_s_error(up: Running, content: Any, status: int, said: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    response = up.send("POST", "/v2/models/model/infer", content=body)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    assert said in response.json()["error"]
    assert response.json().keys() == {"error"}
    assert len(response.content) < 500


RAW = IMAGES[:1].tobytes()
NAN = np.full(64, np.nan, "<f4").tobytes()
HEADER = json.dumps({"inputs": [TENSOR | {"parameters": {"binary_data_size": 256}}]}).encode()


@pytest.mark.parametrize(
    ("body", "length", "said"),
    [
        (HEADER + RAW[:-1], len(HEADER), "256 bytes of binary data; got 255"),
        (HEADER + RAW + b"x", len(HEADER), "256 bytes of binary data; got 257"),
        (HEADER, len(HEADER), "256 bytes of binary data; got 0"),
        (HEADER + NAN, len(HEADER), "between 0 and 1; got NaN"),
        (HEADER + RAW, len(HEADER) - 1, "expected JSON in the first"),
        (HEADER + RAW, 10**6, "between 0 and the body's"),
        (HEADER + RAW, -1, "between 0 and the body's"),
        (HEADER + RAW, "1e2", "between 0 and the body's"),
        (HEADER + RAW, "9" * 50, "between 0 and the body's"),
        (HEADER + RAW, "²", "between 0 and the body's"),
        (HEADER + RAW, "", "between 0 and the body's"),
        (HEADER + RAW, None, "expected JSON"),
        (HEADER, None, "binary data after the JSON, the header"),
        (HEADER.replace(b"256", b"-256") + RAW, len(HEADER) + 1, "announced as -256"),
        (HEADER.replace(b"256", b"true") + RAW, len(HEADER) + 1, "announced as True"),
        (json.dumps(changed()).encode() + RAW, len(json.dumps(changed())), "got none, and 256 bytes after the JSON"),
    ],
)
def test_truncated_and_mislabelled_binary(up: Running, body: bytes, length: Any, said: str) -> None:
    headers = {} if length is None else {LENGTH: str(length).encode()}
    response = up.send("POST", "/v2/models/model/infer", content=body, headers=headers)
    assert response.status_code == 400
    assert said in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v2/models/other/infer", 404, "'model', version '1'; got 'other'"),
        ("POST", "/v2/models/model/versions/2/infer", 404, "version '2'"),
        ("GET", "/v2/models/model/versions/7", 404, "version '7'"),
        ("GET", "/v2/models/%00", 404, "expected the model"),
        ("GET", "/v2/models/" + "x" * 1000, 404, "expected the model"),
        ("GET", "/v2/", 404, "a route of the Open Inference Protocol"),
        ("GET", "/docs", 404, "a route"),
        ("GET", "/v2/models/model/infer", 405, "another method"),
        ("PUT", "/v2", 405, "another method"),
        ("POST", "/v2/models/model/config", 404, "a route"),
    ],
)
def test_other_routes(up: Running, method: str, path: str, status: int, said: str) -> None:
    response = up.send(method, path, json=question() if method == "POST" else None)
    assert response.status_code == status
    assert said in response.json()["error"]
    assert "allow" in response.headers or status != 405


def test_a_compressed_body_is_refused(up: Running) -> None:
    response = up.send("POST", "/v2/models/model/infer", content=b"x", headers={"Content-Encoding": "gzip"})
    assert response.status_code == 415


def raw_exchange(up: Running, request: bytes) -> bytes:
    """What comes back to bytes that no HTTP library would send."""
    host, port = up.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request)
        found = b""
        while part := connection.recv(65536):
            found += part
    return found


def test_huge_headers_and_what_is_no_http(up: Running) -> None:
    huge = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000
    for request in (huge, huge + b"\r\n\r\n", b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n"):
        assert raw_exchange(up, request).startswith(b"HTTP/1.1 431 ")
    many = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20_000
    assert raw_exchange(up, many).startswith(b"HTTP/1.1 431 ")
    for request in (b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"):
        answer = raw_exchange(up, request)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'{"error":' in answer
    assert httpx2.get(f"{up.url}/v2/health/live").json() == {"live": True}
