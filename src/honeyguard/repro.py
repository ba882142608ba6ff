"""Seeds, environment, revision: what makes a record reproducible."""

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("honeyguard", "torch", "numpy", "scipy", "scikit-learn", "safetensors", "datasets", "pillow")
SOURCE = Path(__file__).parent


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block under `seed` without touching the caller's random state."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def derive(seed: int, *path: str | int) -> int:
    """An independent seed for each path, so that adding a step changes no other."""
    return int.from_bytes(hashlib.sha256(repr((seed, *path)).encode()).digest()[:4], "big")


@cache
def revision() -> dict[str, Any]:
    """Commit of the repository that this code runs from and whether it has uncommitted changes; None outside one."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(SOURCE), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        top = Path(git("rev-parse", "--show-toplevel"))
        if not SOURCE.is_relative_to(top / "src"):
            return {"commit": None, "dirty": None}
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "src", "benchmarks"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


@cache
def environment() -> dict[str, Any]:
    """Packages, commit, platform and device of this process."""
    return {
        "packages": {name: metadata.version(name) for name in PACKAGES},
        **revision(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


@cache
def code_fingerprint() -> str:
    """SHA-256 of the library's computing source: results of other code are never taken for this code's."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE)
        if name.parts[0] not in {"report", "gateway", "cli"}:
            digest.update(str(name).encode() + path.read_bytes())
    return digest.hexdigest()
