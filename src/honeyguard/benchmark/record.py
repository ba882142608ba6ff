"""What every result says besides its figures: how it was made, with what, and in what time."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from honeyguard.folders import write_json
from honeyguard.repro import environment

SCHEMA = 1


def record(*, command: str, seeds: Sequence[int], headline: dict[str, float], wall_seconds: float, **content: Any) -> dict[str, Any]:
    """A versioned record, ready to be written as JSON; `headline` (name -> number) is what the README and docs quote."""
    return {
        "schema": SCHEMA,
        "command": command,
        "seeds": list(seeds),
        "headline": headline,
        **content,
        "environment": environment(),
        "wall_seconds": wall_seconds,
    }


@contextmanager
def recorded(output: Path, *, seeds: Sequence[int], **arguments: Any) -> Iterator[dict[str, Any]]:
    """For a script in benchmarks/: fill the dict with `headline` and measurements, and it is written to `output` as a record."""
    started, content = time.perf_counter(), dict[str, Any]()
    yield content
    command = " ".join(["python", *sys.argv])
    write_json(output, record(command=command, seeds=seeds, arguments=arguments, wall_seconds=time.perf_counter() - started, **content))
