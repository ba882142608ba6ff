"""Resident memory of the gateway over a million queries of a thousand clients, with every detector.

python benchmarks/gateway/memory.py --output results/gateway/memory.json
"""

import asyncio
import os
import tempfile
from pathlib import Path

import cyclopts
import numpy as np
from helpers.processes import question, resident
from throughput import guarded, watched

from honeyguard.benchmark.record import recorded
from honeyguard.gateway import clients, launch
from honeyguard.gateway.config import read
from honeyguard.gateway.service import Gateway

SHAPE = (1, 8, 8)


async def asked(gateway: Gateway, keys: list[str], requests: int, images: int) -> list[int]:
    """Memory after the first request and after each twentieth of all, with the detectors' process; clients take turns."""
    draw, found = np.random.default_rng(0), list[int]()
    for i in range(requests):
        client = await gateway.client(keys[i % len(keys)])
        await gateway.infer(client, question(draw.random((images, *SHAPE), np.float32).round(3)), None, alone=True)
        last = not i or not (i + 1) % (requests // 20)
        while gateway.recorder.waiting > (0 if last else 200):
            await asyncio.sleep(0.01)
        if last:
            found.append(resident(os.getpid()))
            print(i + 1, found[-1], flush=True)
    await gateway.close()
    return found


def main(*, output: Path, people: int = 1000, requests: int = 20_000, images: int = 50) -> None:
    """Write the memory to OUTPUT.

    Args:
        people: clients.
        requests: of all clients together.
        images: of a request.
    """
    with recorded(output, seeds=[0], people=people, requests=requests, images=images) as content:
        with tempfile.TemporaryDirectory(prefix="honeyguard") as root:
            settings = watched(Path(root), guarded(Path(root), SHAPE, {"width": 4}), SHAPE)
            text = settings.read_text().replace("[policy]\n", "[policy]\nshare = 1.0\n")
            settings.write_text(f'state = "{root}/state"\n{text}')
            config = read(settings)
            gateway = launch.build(config, Path(root) / "guarded")
            secret = clients.server_secret(Path(config.state))
            keys = [clients.add(gateway.engine, secret, f"client {i}") for i in range(people)]
            found = asyncio.run(asked(gateway, keys, requests, images))
        content["resident_bytes"] = found
        half = np.array(found[len(found) // 2 :]) / 2**20
        content["headline"] = {
            "queries": requests * images,
            "clients": people,
            "start_mib": found[0] / 2**20,
            "middle_mib": half[0],
            "end_mib": half[-1],
            "slope_mib_per_million_queries": np.polyfit(np.arange(len(half)) * requests * images / 20 / 1e6, half, 1)[0],
        }


if __name__ == "__main__":
    cyclopts.run(main)
