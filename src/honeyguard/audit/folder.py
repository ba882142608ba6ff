"""The folder of an audit: whose it is, and how much was sent on its behalf."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from honeyguard.contract import check_answers
from honeyguard.errors import ArtifactError, OutputError
from honeyguard.folders import MANIFEST, check_new, write_json
from honeyguard.transfer import Streams
from honeyguard.types import Labelled, Oracle

SCHEMA, KIND = 1, "audit"
SENT = "sent.json"


@contextmanager
def opened(folder: Path, manifest: Mapping[str, Any]) -> Iterator[None]:
    """Make the folder of an audit, or go on with it; one in which nothing was paid goes.

    Raises: OutputError: another audit's, or something else. ArtifactError: a damaged manifest.
    """
    path, content = folder / MANIFEST, json.loads(json.dumps({"schema": SCHEMA, "kind": KIND, **manifest}))
    if path.exists():
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ArtifactError("the folder of an audit", f"{folder} ({error})", "Choose another place.") from None
        other = [name for name in content if found.get(name) != content[name]]
        if other:
            do = "Repeat that one's arguments to go on with it, or choose another place."
            raise OutputError("the folder of the same audit", f"{folder}, of one with other {', '.join(other)}", do)
    else:
        check_new(folder)
        write_json(path, content)
    try:
        yield
    except BaseException as error:  # Ctrl-C too
        if any(folder.rglob("*.safetensors")):
            if not getattr(error, "__notes__", ()):
                error.add_note(f"What was paid for is kept in {folder}; the same audit, run again, goes on from there.")
        else:
            for name in (MANIFEST, SENT):
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
        raise


class Sent:
    """An oracle that keeps in a file how many images were sent to it, over all runs.

    It counts what is under way before it is sent, and retries: the most that the oracle can have counted.
    """

    def __init__(self, oracle: Oracle, file: Path) -> None:
        self.oracle, self.file = oracle, file
        try:
            self.total = int(json.loads(file.read_text(encoding="utf-8"))["sent"]) if file.exists() else 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError("a count of images sent", f"{file} ({error})", "Restore it from a copy.") from None

    def __call__(self, images: Tensor) -> Tensor:
        parts = dict(self.stream(images))
        return torch.cat([parts[start] for start in sorted(parts)])

    def stream(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        known, before = self.total, getattr(self.oracle, "sent", 0)
        self._write(known + len(images))
        try:
            if isinstance(self.oracle, Streams):
                yield from self.oracle.stream(images)
            else:
                yield 0, check_answers(self.oracle(images), len(images))
        finally:
            self._write(known + getattr(self.oracle, "sent", before + len(images)) - before)

    def _write(self, total: int) -> None:
        self.total = total
        write_json(self.file, {"sent": total})


def named(registry: Mapping[str, type], part: Any) -> dict[str, Any]:
    """A part as a suite says it: its name in the registry, or its class's, and the parameters that differ from the defaults."""
    name = next((name for name, known in registry.items() if type(part) is known), type(part).__name__)
    fields = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    given = {f.name: getattr(part, f.name) for f in fields if f.init and getattr(part, f.name) != _default(f)}
    return {"name": name, **{key: value if isinstance(value, int | float | str | None) else repr(value) for key, value in given.items()}}


def fingerprint(pool: Tensor, test: Labelled | None) -> str:
    """SHA-256 of the images and labels."""
    digest = hashlib.sha256()
    for tensor in (pool, *((test.images, test.labels) if test else ())):
        digest.update(repr(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
