"""Gateways, databases and load in processes of their own, for the scripts beside this one."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Server:
    """A process that listens on a port of this machine; it can be killed, stopped and started again.

    Args:
        ready: path that answers once it is up; None waits for the port alone.
    """

    command: list[str]
    port: int
    ready: str | None = "/v2/health/live"
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 240) -> "Server":
        self.process = subprocess.Popen(
            self.command, env=os.environ | dict(self.environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + seconds
        while not self._up():
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{' '.join(self.command)} didn't start")
            time.sleep(0.05)
        return self

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.send(number)
        if self.process is not None:
            self.process.wait(60)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGCONT)
        self.stop(signal.SIGKILL)

    def memory(self) -> int:
        """Bytes of resident memory, with the processes that it started."""
        return resident(self.process.pid if self.process is not None else 0)

    def processor(self) -> float:
        """Seconds of processor time so far, of all threads, with the processes that it started."""
        pids = family(self.process.pid) if self.process is not None else []
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(user) + int(system) for user, system in (found[11:13] for found in fields)) / os.sysconf("SC_CLK_TCK")

    def _up(self) -> bool:
        try:
            if self.ready is None:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            return ask(self.port, "GET", self.ready)[0] == 200
        except OSError:
            return False


def family(pid: int) -> list[int]:
    """A process and those that it started."""
    return [pid, *(int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split())]


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and those that it started."""
    pages = sum(int(Path(f"/proc/{known}/statm").read_text().split()[1]) for known in family(pid))
    return pages * os.sysconf("SC_PAGESIZE")


def gateway(state: Path, folder: Path | None, *arguments: str, port: int | None = None, **environment: str) -> Server:
    """`honeyguard serve`, not yet started."""
    port = port or free_port()
    named = [str(folder)] if folder else []
    command = [sys.executable, "-m", "honeyguard", "serve", *named, "--state", str(state), "--port", str(port), *arguments]
    return Server(command, port, environment=environment)


def ask(
    port: int, method: str, path: str, body: bytes | None = None, key: str = "", timeout: float = 30, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"X-API-Key": key} | headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def question(images: Any) -> bytes:
    tensor = {"name": "images", "datatype": "FP32", "shape": list(images.shape), "data": np.asarray(images).ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


@dataclass
class Load:
    """Clients who ask without pause in threads; what they got, by status.

    Args:
        keys: one thread each.
        images: of a request.
    Attributes:
        statuses: how many requests ended so; 0 for no answer.
        answered: images by key.
        bodies: the last body by status.
    """

    port: int
    keys: list[str]
    images: Any
    statuses: dict[int, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._run, args=(key,)) for key in self.keys]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, key: str) -> None:
        body = question(self.images)
        while not self._stop.is_set():
            try:
                status, content = ask(self.port, "POST", "/v2/models/model/infer", body, key, timeout=10)
            except (OSError, http.client.HTTPException):
                status, content = 0, b""
                time.sleep(0.02)
            with self._lock:
                self.statuses[status] = self.statuses.get(status, 0) + 1
                self.bodies[status] = content
                self.answered[key] = self.answered.get(key, 0) + len(self.images) * (status == 200)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[Server, str]]:
    """A database of its own, and its URL. PostgreSQL refuses to run as root, so root lends it to the user postgres."""
    folder.mkdir(parents=True)
    prefix = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        prefix = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    subprocess.run(
        [*prefix, POSTGRES / "initdb", "-D", folder / "data", "-U", "owner", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    port = free_port()
    command = [*prefix, str(POSTGRES / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    with Server(command, port, ready=None) as server:
        time.sleep(1)
        yield server, f"postgresql+psycopg://owner@127.0.0.1:{port}/postgres"
        server.stop(signal.SIGINT)
