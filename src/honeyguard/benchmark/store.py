"""Content-addressed cells: what a suite computed once is never computed again, and a kill at any moment loses one cell."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from honeyguard.errors import OutputError
from honeyguard.folders import new_folder, write_json
from honeyguard.repro import code_fingerprint, environment

SCHEMA = 1
RECORD, TENSORS = "record.json", "tensors.safetensors"


@dataclass(frozen=True)
class Cell:
    """A finished step: its folder, and the record that it wrote."""

    folder: Path
    record: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def results(self) -> dict[str, Any]:
        return dict(self.record["results"])

    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.folder / TENSORS)


Made = tuple[Mapping[str, Any], Mapping[str, Tensor]]
"""What a step gives: results for the record, and tensors."""


@dataclass(frozen=True)
class Store:
    """A folder of cells; a cell's address is the hash of the code, its specification and its parents.

    Args:
        folder: where the cells lie.
        note: called with (kind, label) when a cell is finished or found.
    """

    folder: Path
    note: Callable[[str, str], None] = lambda kind, label: None

    def cell(self, kind: str, label: str, spec: Mapping[str, Any], parents: Sequence[str], compute: Callable[[], Made]) -> Cell:
        """The cell of this kind, specification and parents: read if it is there, else computed and written in one step."""
        address = {"schema": SCHEMA, "code": code_fingerprint(), "kind": kind, "spec": spec, "parents": list(parents)}
        name = hashlib.sha256(json.dumps(address, sort_keys=True).encode()).hexdigest()
        folder = self.folder / f"{kind}-{name[:24]}"
        if not folder.exists():
            started, busy = time.perf_counter(), time.process_time()
            results, tensors = compute()
            seconds = {"wall_seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy}
            record = {**address, "id": name, "label": label, "results": results, "environment": environment(), **seconds}
            try:
                with new_folder(folder) as partial:
                    save_file({key: value.contiguous() for key, value in tensors.items()}, partial / TENSORS)
                    write_json(partial / RECORD, record)
            except (OSError, OutputError) as error:
                if not folder.exists():  # else another process was first with the same cell
                    raise OutputError("a folder that can be written", f"{folder} ({error})", "Free some space.") from None
        self.note(kind, label)
        return Cell(folder, json.loads((folder / RECORD).read_text(encoding="utf-8")))
