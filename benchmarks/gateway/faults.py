"""Load held and faults survived: the gateway in processes of its own, and everything around it broken in turn.

    python benchmarks/gateway/faults.py --output results/gateway/faults.json

A fault is survived if, whatever happened: no client got more answers than were spent from its budget, nobody got an answer that is
not the defended one, no answered query is missing from the ledger, its chain is unbroken, and queries are answered again once the cause
is gone. Needs redis-server and PostgreSQL; the full disk needs the right to mount a tmpfs.
"""

import http.client
import json
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from helpers.processes import Load, Server, ask, free_port, gateway, postgres, question
from sqlalchemy import select

from honeyguard import artifacts
from honeyguard.benchmark.record import recorded
from honeyguard.checks import tiny_task, tiny_victim
from honeyguard.defenses import ReverseSigmoid
from honeyguard.gateway import clients, ledger
from honeyguard.gateway.store import clients as table
from honeyguard.gateway.store import open_store

IMAGES = tiny_task(7).images
Found = dict[str, Any]


class World:
    """A guarded model, what it should answer, and a place for state."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "guarded"
        self.victim, self.defense = tiny_victim(), ReverseSigmoid(beta=0.9)
        artifacts.save(self.defense.protect(self.victim), self.folder, shape=(1, 8, 8), names=tuple("abcd"))
        with torch.no_grad():
            self.raw = torch.softmax(self.victim(IMAGES), 1).numpy()
            self.defended = self.defense(torch.softmax(self.victim(IMAGES), 1)).numpy()

    def state(self, name: str) -> Path:
        path = self.root / name
        path.mkdir()
        return path

    def leaks(self, bodies: dict[int, bytes], images: slice) -> int:
        """Answers that are not the defended ones, and errors that say more than a text."""
        found = 0
        for status, body in bodies.items():
            if status == 200:
                told = np.reshape(json.loads(body)["outputs"][0]["data"], (-1, 4))
                found += not np.allclose(told, self.defended[images], atol=1e-3)
            elif status:
                found += json.loads(body).keys() != {"error"} or any(f"{p:.6f}" in body.decode() for p in self.raw.ravel())
        return found


def keys_of(state: Path, url: str | None, *budgets: int | None) -> list[str]:
    engine = open_store(url or f"sqlite:///{state}/gateway.sqlite")
    made = [clients.add(engine, clients.server_secret(state), f"client {time.monotonic_ns()}", budget) for budget in budgets]
    engine.dispose()
    return made


def books(state: Path, url: str | None, answered: dict[str, int]) -> Found:
    """What the tables say against what clients got, once the ledger is written."""
    engine = open_store(url or f"sqlite:///{state}/gateway.sqlite")
    with engine.connect() as connection:
        spent = {row.id: row.spent for row in connection.execute(select(table.c.id, table.c.spent))}
    checked = ledger.verify(engine)
    engine.dispose()
    return {
        "undercounts": sum(spent[key[3:15]] < count for key, count in answered.items()),
        "missing_from_ledger": max(0, sum(answered.values()) - checked.images),
        "images": checked.images,
    }


def works(port: int, key: str, seconds: float = 15) -> bool:
    """Whether a query is answered before the time is over."""
    end, body = time.monotonic() + seconds, question(IMAGES[:1])
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            if ask(port, "POST", "/v2/models/model/infer", body, key)[0] == 200:
                return True
        time.sleep(0.1)
    return False


def settled(world: World, state: Path, url: str | None, load: Load, server: Server, images: slice = slice(0, 4)) -> Found:
    """The verdict on one fault."""
    again = works(server.port, load.keys[0])
    load.answered[load.keys[0]] = load.answered.get(load.keys[0], 0) + again
    time.sleep(1)
    found = books(state, url, load.answered) | {"leaks": world.leaks(load.bodies, images), "again": again, "statuses": load.statuses}
    good = again and not (found["undercounts"] or found["missing_from_ledger"] or found["leaks"]) and load.statuses.get(200, 0) > 0
    return found | {"survived": bool(good)}


def killed(world: World, turns: int) -> Found:
    state = world.state("killed")
    keys = keys_of(state, None, None, None, 10**6)
    server = gateway(state, world.folder)
    with server, Load(server.port, keys, IMAGES[:4]) as load:
        for _ in range(turns):
            time.sleep(1.5)
            server.stop(signal.SIGKILL)
            server.start()
        time.sleep(0.5)
    with server:
        return settled(world, state, None, load, server)


def full_disk(world: World) -> Found:
    state = world.state("full_disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", state], check=True)
    try:
        keys = keys_of(state, None, None, None)
        with gateway(state, world.folder) as server:
            with Load(server.port, keys, IMAGES[:4]) as load:
                time.sleep(0.5)
                fill(state / "filler")
                time.sleep(2)
                refused = load.statuses.get(503, 0)
                (state / "filler").unlink()
                time.sleep(2)
            found = settled(world, state, None, load, server)
            return found | {"survived": found["survived"] and refused > 0}
    finally:
        subprocess.run(["umount", state], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass


def gone(world: World, state: Path, url: str | None, store: Server, number: int, *arguments: str) -> Found:
    """A store that the gateway needs goes in mid-load, by this signal, and comes back."""
    keys = keys_of(state, url, None, None)
    with gateway(state, world.folder, *arguments) as server:
        with Load(server.port, keys, IMAGES[:4]) as load:
            time.sleep(1)
            store.stop(number)
            time.sleep(2)
            refused = load.statuses.get(503, 0)
            store.start()
            time.sleep(3)
        found = settled(world, state, url, load, server)
    return found | {"survived": found["survived"] and refused > 0}


def database_gone(world: World) -> Found:
    state = world.state("database")
    with postgres(world.root / "postgres") as (database, url):
        return gone(world, state, url, database, signal.SIGQUIT, "--database", url)  # without a farewell


def redis_gone(world: World) -> Found:
    state, port = world.state("redis"), free_port()
    config = state / "gateway.toml"
    config.write_text(f'[limits]\nrate = "1000000/minute"\nrate_store = "redis://127.0.0.1:{port}"\n')
    with Server(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"], port, ready=None) as redis:
        return gone(world, state, None, redis, signal.SIGKILL, "--config", str(config))


def upstream_dies(world: World) -> Found:
    """An upstream that answers raw probabilities, stopped, killed and started again."""
    plain = world.root / "plain"
    artifacts.save(ReverseSigmoid(beta=0.0).protect(world.victim), plain, shape=(1, 8, 8), names=tuple("abcd"))
    back, state = world.state("upstream"), world.state("front")
    (secret,) = keys_of(back, None, None)
    keys = keys_of(state, None, None, None)
    config = state / "gateway.toml"
    config.write_text("[limits]\nseconds = 1.0\n")
    behind = gateway(back, plain)
    with behind, ExitStack() as stack:
        address = ("--upstream", f"http://127.0.0.1:{behind.port}", "--defense", "reverse_sigmoid:beta=0.9")
        front = gateway(state, None, *address, "--config", str(config), HONEYGUARD_UPSTREAM_KEY=secret)
        server = stack.enter_context(front)
        with Load(server.port, keys, IMAGES[:4]) as load:
            time.sleep(1)
            behind.send(signal.SIGSTOP)
            time.sleep(2.5)
            behind.send(signal.SIGCONT)
            time.sleep(1)
            behind.stop(signal.SIGKILL)
            time.sleep(1)
            behind.start()
            time.sleep(1)
        found = settled(world, state, None, load, server)
        return found | {"survived": found["survived"] and load.statuses.get(504, 0) > 0 and load.statuses.get(502, 0) > 0}


def malformed(world: World, count: int) -> Found:
    """Requests with a few bytes changed, cut or repeated, JSON and binary."""
    state, draw = world.state("malformed"), random.Random(0)  # noqa: S311 - the same requests each time
    (key,) = keys_of(state, None, None)
    body = question(IMAGES[:1])
    header = json.dumps(
        {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 1, 8, 8], "parameters": {"binary_data_size": 256}}]}
    )
    binary, split = header.encode() + IMAGES[:1].numpy().tobytes(), {"Inference-Header-Content-Length": str(len(header))}
    with gateway(state, world.folder) as server:
        works(server.port, key)
        before, statuses, answered, bodies = server.memory(), dict[int, int](), 1, dict[int, bytes]()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for i in range(count):
            sent, headers = (bytearray(body), {}) if i % 2 else (bytearray(binary), split)
            for _ in range(draw.randint(1, 4)):
                place = draw.randrange(len(sent))
                change = draw.randrange(3)
                sent[place : place + draw.randint(0, 20)] = (b"", bytes([draw.randrange(256)]), sent[:30])[change]
            connection.request("POST", "/v2/models/model/infer", bytes(sent), {"X-API-Key": key} | headers)
            response = connection.getresponse()
            content = response.read()
            statuses[response.status] = statuses.get(response.status, 0) + 1
            answered += response.status == 200
            if response.status != 200:
                bodies[response.status] = content
        connection.close()
        grown = server.memory() - before
        again = works(server.port, key)
        time.sleep(1)
    found = books(state, None, {key: answered + again}) | {"leaks": world.leaks(bodies, slice(0, 1)), "again": again, "statuses": statuses}
    good = again and set(statuses) <= {200, 400, 413} and not (found["undercounts"] or found["leaks"]) and grown < 64 << 20
    return found | {"grown_bytes": grown, "survived": bool(good)}


def slow_loris(world: World, connections: int) -> Found:
    state = world.state("loris")
    config = state / "gateway.toml"
    config.write_text("[limits]\nupload = 2.0\n")
    keys = keys_of(state, None, None, None)
    with gateway(state, world.folder, "--config", str(config)) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(connections)]
        stop = threading.Event()

        def drip() -> None:
            for byte in b"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\n" * 4:
                for connection in slow:
                    with suppress(OSError):
                        connection.send(bytes([byte]))
                if stop.wait(0.3):
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        with Load(server.port, keys, IMAGES[:4]) as load:
            time.sleep(4)
        stop.set()
        dripping.join()
        closed = sum(connection.recv(1) == b"" for connection in slow if not connection.settimeout(1))
        for connection in slow:
            connection.close()
        found = settled(world, state, None, load, server)
        return found | {"closed": closed, "survived": found["survived"] and closed == connections}


def nan_model(world: World) -> Found:
    state, folder = world.state("nan"), world.root / "nan_model"
    broken = tiny_victim()
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    artifacts.save(ReverseSigmoid(beta=0.9).protect(broken), folder, shape=(1, 8, 8), names=tuple("abcd"))
    keys = keys_of(state, None, None, None)
    with gateway(state, folder) as server:
        with Load(server.port, keys, IMAGES[:4]) as load:
            time.sleep(1)
        live = ask(server.port, "GET", "/v2/health/live")[0] == 200
    leaks = world.leaks(load.bodies, slice(0, 4)) + load.statuses.get(200, 0)
    return {
        "leaks": leaks,
        "undercounts": 0,
        "statuses": load.statuses,
        "survived": bool(live and not leaks and set(load.statuses) == {500}),
    }


def race(world: World, rounds: int, url: str | None, name: str) -> Found:
    """Two replicas and one budget that is almost spent."""
    state = world.state(name)
    keys = keys_of(state, url, *[7] * rounds)
    more = ("--database", url) if url else ()
    exact, undercounts, body = 0, 0, question(IMAGES[:1])
    with gateway(state, world.folder, *more) as one, gateway(state, world.folder, *more) as two:
        for key in keys:
            found: list[int] = []
            threads = [
                threading.Thread(target=lambda p=port: found.append(ask(p, "POST", "/v2/models/model/infer", body, key)[0]))  # noqa: B023
                for port in (one.port, two.port) * 6
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            exact += found.count(200) == 7
            undercounts += found.count(200) > 7
        time.sleep(1)
    kept = books(state, url, dict.fromkeys(keys, 7))
    good = exact == rounds and not (undercounts or kept["undercounts"] or kept["missing_from_ledger"])
    return kept | {"exact": exact, "rounds": rounds, "leaks": 0, "undercounts": undercounts + kept["undercounts"], "survived": bool(good)}


def race_on_postgres(world: World, rounds: int) -> Found:
    with postgres(world.root / "postgres_race") as (_, url):
        return race(world, rounds, url, "race_postgres")


CLOCK = """
import pathlib, time
_now, _file = time.time, pathlib.Path({file!r})
time.time = lambda: _now() + float(_file.read_text() or 0)
"""


def clock_jumps(world: World) -> Found:
    """A day forth, two days back, with rate windows and a budget."""
    state, patch = world.state("clock"), world.root / "patch"
    patch.mkdir()
    offset = patch / "offset"
    offset.write_text("0")
    (patch / "sitecustomize.py").write_text(CLOCK.format(file=str(offset)))
    config = state / "gateway.toml"
    config.write_text('[limits]\nrate = "1000000/hour"\n')
    keys = keys_of(state, None, None, 10**6)
    server = gateway(state, world.folder, "--config", str(config))
    server.environment = {"PYTHONPATH": f"{patch}:{Path(artifacts.__file__).parents[1]}"}
    with server:
        with Load(server.port, keys, IMAGES[:4]) as load:
            for jump in (86_400, -86_400, 0):
                time.sleep(0.7)
                offset.write_text(str(jump))
            time.sleep(0.7)
        found = settled(world, state, None, load, server)
        return found | {"survived": found["survived"] and set(load.statuses) == {200}}


def main(*, output: Path, turns: int = 5, requests: int = 10_000, connections: int = 300, rounds: int = 20) -> None:
    """Break everything in turn and write what happened to OUTPUT.

    Args:
        turns: times that the process is killed.
        requests: malformed ones.
        connections: of the slow loris.
        rounds: of the race for a budget.
    """
    faults: dict[str, Callable[[World], Found]] = {
        "kill -9 in mid-load": partial(killed, turns=turns),
        "full disk": full_disk,
        "database gone and back": database_gone,
        "redis gone and back": redis_gone,
        "upstream slow and dying": upstream_dies,
        "malformed requests": partial(malformed, count=requests),
        "slow-loris": partial(slow_loris, connections=connections),
        "model that answers NaN": nan_model,
        "two replicas race, SQLite": partial(race, rounds=rounds, url=None, name="race"),
        "two replicas race, PostgreSQL": partial(race_on_postgres, rounds=rounds),
        "clock jumps": clock_jumps,
    }
    with recorded(output, seeds=[0], turns=turns, requests=requests, connections=connections, rounds=rounds) as content:
        with tempfile.TemporaryDirectory(prefix="honeyguard") as root:
            Path(root).chmod(0o755)  # PostgreSQL runs as another user
            world, found = World(Path(root)), dict[str, Found]()
            for name, fault in faults.items():
                found[name] = fault(world)
                print(name, found[name], flush=True)
        content["faults"] = found
        content["headline"] = {
            "faults_survived": sum(fault["survived"] for fault in found.values()),
            "faults_tried": len(found),
            "budget_undercounts": sum(fault["undercounts"] for fault in found.values()),
            "raw_probabilities_leaked": sum(fault["leaks"] for fault in found.values()),
        }


if __name__ == "__main__":
    cyclopts.run(main)
