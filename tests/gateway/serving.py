"""A gateway on loopback, in a thread of this process, with a model that answers in microseconds."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch
import uvicorn
from onnx import TensorProto, helper, save
from torch import nn

from honeyguard import artifacts, folders
from honeyguard.checks import tiny_task
from honeyguard.folders import digest_of
from honeyguard.gateway import clients, launch
from honeyguard.gateway.app import create_app
from honeyguard.gateway.config import Config
from honeyguard.gateway.dashboard import Sessions
from honeyguard.gateway.service import Gateway
from honeyguard.gateway.store import open_store
from honeyguard.types import Protected

IMAGES = tiny_task(7).images.numpy()
NAMES = tuple("abcd")


@cache
def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))


def expected(images: Any) -> Any:
    """What the model answers to images (N, 1, 8, 8)."""
    with torch.no_grad():
        logits: torch.Tensor = network()(images if isinstance(images, torch.Tensor) else torch.tensor(images))
    return logits.softmax(1).numpy()


def guarded(path: Path, scale: float = 1.0, outputs: tuple[str, ...] = ("probabilities", "features")) -> Path:
    """A folder as `honeyguard protect` writes it, in milliseconds: the graph is written by hand."""
    artifacts.save(Protected.of(network()), path, shape=(1, 8, 8), names=NAMES)
    write_onnx(path / folders.SERVED, scale, outputs)
    manifest = json.loads((path / folders.MANIFEST).read_text())
    del manifest["sha256_manifest"]
    manifest["sha256"][folders.SERVED] = hashlib.sha256((path / folders.SERVED).read_bytes()).hexdigest()
    folders.write_json(path / folders.MANIFEST, manifest | {"sha256_manifest": digest_of(manifest)})
    return path


def write_onnx(path: Path, scale: float, outputs: tuple[str, ...]) -> None:
    """The model as a graph; the weights times `scale`, so that NaN breaks it."""
    weight, bias = (value.detach() for value in network().parameters())
    info = helper.make_tensor_value_info
    shapes: dict[str, list[str | int | None]] = {"probabilities": ["N", 4], "features": ["N", 64], "logits": ["N", 4]}
    nodes = [
        helper.make_node("Flatten", ["images"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [info("images", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [helper.make_tensor(n, TensorProto.FLOAT, t.shape, t.flatten().tolist()) for n, t in (("w", weight.T * scale), ("b", bias))],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@dataclass(frozen=True)
class Running:
    """A gateway that answers at `url`, and the key of a client of it."""

    gateway: Gateway
    url: str
    key: str
    state: Path

    def client(self, name: str, budget: int | None = None) -> str:
        return add_client(self.gateway.config, name, budget)

    def send(self, method: str, path: str, key: str | None = None, **arguments: Any) -> httpx2.Response:
        headers = {"X-API-Key": self.key if key is None else key} | arguments.pop("headers", {})
        with httpx2.Client(verify=False) as http:
            return http.request(method, self.url + path, headers=headers, **arguments)

    def infer(self, images: Any = IMAGES[:1], key: str | None = None) -> httpx2.Response:
        return self.send("POST", "/v2/models/model/infer", key, json=question(images))


def question(images: Any = IMAGES[:1]) -> dict[str, Any]:
    array = np.asarray(images)
    return {"inputs": [{"name": "images", "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}]}


def add_client(config: Config, name: str, budget: int | None = None) -> str:
    engine = open_store(config.url)
    try:
        return clients.add(engine, clients.server_secret(Path(config.state)), name, budget)
    finally:
        engine.dispose()


@contextmanager
def running(folder: Path | None, config: Config, name: str = "alice", password: str = "") -> Iterator[Running]:
    """A gateway that is up for the length of a block."""
    config = replace(config, ledger=replace(config.ledger, seconds=0.02))
    key = add_client(config, name)
    gateway = launch.build(config, folder)
    socket = launch.listen("127.0.0.1", 0)
    sessions = Sessions(password, clients.server_secret(Path(config.state))) if password else None
    server = uvicorn.Server(launch.server_config(create_app(gateway, sessions), config))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[socket])))
    thread.start()
    try:
        while not server.started:
            thread.join(0.005)
            assert thread.is_alive(), "the gateway didn't start"
        yield Running(gateway, f"http://127.0.0.1:{socket.getsockname()[1]}", key, Path(config.state))
    finally:
        server.should_exit = True
        thread.join()
        socket.close()
