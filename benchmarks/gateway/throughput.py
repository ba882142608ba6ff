"""Requests a second and latency: the whole gateway against bare ONNX Runtime behind the same framework, and against MLServer.

    python benchmarks/gateway/throughput.py --output results/gateway/throughput.json

One image a request, JSON, one server process each, wrk on loopback. All sides stand side by side and take turns in short runs, so that
a busy machine slows them alike; figures are medians over the turns, ratios are medians of the ratios of one turn, ours over theirs. "full"
has keys, budgets, the ledger and all detectors, whose process counts in memory and processor time. MLServer lives in an environment of
its own, which this script makes.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cyclopts
import torch
from helpers.processes import Server, free_port, gateway, question

from honeyguard import artifacts, folders
from honeyguard.benchmark.record import recorded
from honeyguard.defenses import ReverseSigmoid
from honeyguard.detection import DETECTORS
from honeyguard.detection.thresholds import Thresholds
from honeyguard.gateway import clients
from honeyguard.gateway.store import open_store
from honeyguard.traffic import observed
from honeyguard.training import Network
from honeyguard.types import Protected

HERE = Path(__file__).parent / "helpers"
CASES = {"28x28 grey": ((1, 28, 28), {"width": 8}), "32x32 colour": ((3, 32, 32), {"width": 16})}
HEADLINE = "32x32 colour"
CONNECTIONS = (1, 8, 64)
LUA = """
wrk.method = "POST"
local file = io.open(os.getenv("BODY"), "rb")
wrk.body = file:read("*all")
file:close()
wrk.headers["X-API-Key"] = os.getenv("KEY")
wrk.headers["Content-Type"] = "application/json"
"""


def guarded(root: Path, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> Protected:
    """An untrained network behind a reverse sigmoid: what it costs doesn't depend on what it knows."""
    protected = ReverseSigmoid().protect(Network(model="cnn", arguments=dict(arguments)).fresh(shape, 10, 0).eval())
    artifacts.save(protected, root / "guarded", shape=shape, names=tuple("0123456789"))
    return protected


def watched(root: Path, protected: Protected, shape: tuple[int, ...]) -> Path:
    """A configuration with every detector; thresholds that no stream reaches, so that nobody is slowed."""
    images = torch.rand(1000, *shape, generator=torch.Generator().manual_seed(0))
    benign = observed(protected, images)
    fitted = {name: kind().fit(benign) for name, kind in DETECTORS.items()}
    figures = {"client_day": 200, "days": 1, "false_alarms_per_client_day": 0.01, "bound": 0.01, "streams": 300}
    thresholds = Thresholds(detectors=fitted, values=dict.fromkeys(fitted, 1e12), **figures)
    folders.write_json(root / "thresholds.json", thresholds.content())
    config = root / "gateway.toml"
    config.write_text(f'[limits]\nrate = "100000000/minute"\n[policy]\nthresholds = "{root / "thresholds.json"}"\n')
    return config


def bare(root: Path) -> Server:
    port = free_port()
    return Server([sys.executable, str(HERE / "bare.py"), str(root / "guarded"), str(port)], port, ready=None)


def mlserver(root: Path, python: Path) -> Server:
    port = free_port()
    folder = root / "mlserver"
    folder.mkdir()
    folders.write_json(folder / "model-settings.json", {"name": "model", "implementation": "mlserver_model.Graph"})
    settings = {
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
        "host": "127.0.0.1",
    }
    folders.write_json(folder / "settings.json", settings)
    environment = {"PYTHONPATH": str(HERE), "GRAPH": str(root / "guarded" / "model.onnx")}
    return Server([str(python.with_name("mlserver")), "start", str(folder)], port, "/v2/health/ready", environment)


def environment_of_mlserver(folder: Path) -> Path | None:
    """Python of an environment with MLServer, made where there is none; None where it can't be."""
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "mlserver", "onnxruntime"], check=True)
        subprocess.run([python, "-c", "import mlserver"], check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return python


def wrk(server: Server, connections: int, seconds: int, root: Path, key: str) -> dict[str, float]:
    """Requests a second, milliseconds of latency and of processor time a request. Raises: RuntimeError: answers that are none."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency", "-s", str(root / "post.lua")]
    before = server.processor()
    given = os.environ | {"BODY": str(root / "body.json"), "KEY": key}
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}/v2/models/model/infer"], env=given, capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    found: dict[str, float] = {"per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])}  # type: ignore[index]
    requests = float(re.search(r"(\d+) requests in", out)[1])  # type: ignore[index]
    found["processor_ms"] = 1e3 * (server.processor() - before) / requests
    for percent in (50, 99):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", out).groups()  # type: ignore[union-attr]
        found[f"p{percent}_ms"] = float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    return found


def compare(case: str, root: Path, python: Path | None, turns: int, seconds: int) -> dict[str, Any]:
    """All sides in turns, at each number of connections."""
    shape, arguments = CASES[case]
    protected = guarded(root, shape, arguments)
    config, state = watched(root, protected, shape), root / "state"
    engine = open_store(f"sqlite:///{state}/gateway.sqlite")
    key = clients.add(engine, clients.server_secret(state), "wrk", 10**9)
    engine.dispose()
    (root / "post.lua").write_text(LUA)
    (root / "body.json").write_bytes(
        question(torch.rand(1, *shape, generator=torch.Generator().manual_seed(1)).mul(255).round().div(255).numpy())
    )
    with ExitStack() as stack:
        sides = {"bare": bare(root), "full": gateway(state, root / "guarded", "--config", str(config))}
        sides |= {"mlserver": mlserver(root, python)} if python else {}
        for server in sides.values():
            stack.enter_context(server)
        found: dict[str, Any] = {}
        for connections in CONNECTIONS:
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
            for turn in range(turns + 1):
                for name in sides if turn % 2 else reversed(sides):
                    runs[name].append(wrk(sides[name], connections, seconds, root, key))
            kept = {name: of_side[1:] for name, of_side in runs.items()}  # the first turn warms up
            found[f"c{connections}"] = {name: medians(of_side) for name, of_side in kept.items()} | {
                "ratios": {name: ratios(kept["full"], of_side) for name, of_side in kept.items() if name != "full"}
            }
            if python:
                found[f"c{connections}"]["bare_over_mlserver"] = ratios(kept["bare"], kept["mlserver"])["median"]
            print(case, connections, found[f"c{connections}"], flush=True)
        found["parameters"] = sum(p.numel() for p in protected.network.parameters())
        found["memory_bytes"] = {name: server.memory() for name, server in sides.items()}
    return found


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def ratios(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, float]:
    """Of the throughput, turn by turn; and of the processor time a request, theirs over ours, which a busy machine doesn't change."""
    each = sorted(a["per_second"] / b["per_second"] for a, b in zip(ours, theirs, strict=True))
    processor = statistics.median(b["processor_ms"] / a["processor_ms"] for a, b in zip(ours, theirs, strict=True))
    return {"median": statistics.median(each), "low": each[0], "high": each[-1], "processor": processor}


def main(*, output: Path, turns: int = 9, seconds: int = 2, mlserver_venv: Path = Path("runs/mlserver-venv")) -> None:
    """Write the comparison to OUTPUT.

    Args:
        turns: of each side.
        seconds: of a run.
        mlserver_venv: MLServer's own environment, made if it isn't there.
    """
    torch.set_num_threads(1)
    python = environment_of_mlserver(mlserver_venv.absolute())
    if python is None:
        print("MLServer can't be installed here: it is left out.")
    with recorded(output, seeds=[0], turns=turns, seconds=seconds) as content:
        cases = {}
        for case in CASES:
            with tempfile.TemporaryDirectory(prefix="honeyguard") as root:
                cases[case] = compare(case, Path(root), python, turns, seconds)
        content["cases"] = cases
        content["mlserver"] = python is not None
        at = cases[HEADLINE]
        content["headline"] = {f"full_over_bare_c{c}": at[f"c{c}"]["ratios"]["bare"]["median"] for c in CONNECTIONS}
        content["headline"] |= {f"processor_full_over_bare_c{c}": at[f"c{c}"]["ratios"]["bare"]["processor"] for c in CONNECTIONS}
        if python is not None:
            content["headline"]["over_mlserver_c8"] = at["c8"]["ratios"]["mlserver"]["median"]
            content["headline"]["bare_over_mlserver_c8"] = at["c8"]["bare_over_mlserver"]


if __name__ == "__main__":
    cyclopts.run(main)
