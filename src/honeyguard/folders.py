"""Folders on disk without what is in them: written whole, described by a JSON manifest with checksums, no pickle.

A folder is written whole beside its place and then renamed, so that nothing half-written stays. Nothing here needs PyTorch.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from honeyguard.errors import ArtifactError, OutputError
from honeyguard.files import new_file

SCHEMA = 1
MANIFEST, WEIGHTS, SERVED = "manifest.json", "model.safetensors", "model.onnx"


@contextmanager
def new_folder(path: Path, *, mode: int = 0o755) -> Iterator[Path]:
    """A folder to fill; it appears at `path` when the block ends well, and not at all otherwise.

    Raises: OutputError: `path` is there and not an empty folder, or its parent can't be written.
    """
    check_new(path)
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError("a folder that can be written", f"{path} ({error.strerror})", "Choose another place.") from None
    try:
        yield partial
        partial.chmod(mode)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_new(path: Path) -> None:
    """Raises: OutputError: something is at `path` that is not an empty folder."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError("an output folder that is new or empty", f"{path}", "Choose another place, or remove it first.")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON to a file in one step. Raises: OutputError."""
    with new_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a model that `save` wrote, without loading it. Raises: ArtifactError: missing, damaged, foreign or newer files."""
    return read_folder(path, "model", WEIGHTS)


def read_folder(path: Path, kind: str, name: str) -> dict[str, Any]:
    """The manifest of a folder of this kind, whose file `name` is as it was written. Raises: ArtifactError."""
    expected = f"a Honeyguard {kind} folder"
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        schema, found, checksum = int(manifest["schema"]), str(manifest["kind"]), str(manifest["sha256"].get(name))
        digest = manifest.pop("sha256_manifest")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(expected, f"{path} ({type(error).__name__}: {error})", "Check the path.") from None
    if schema > SCHEMA:
        raise ArtifactError(f"schema version {SCHEMA} or older", f"version {schema} at {path}", "Install a newer Honeyguard.")
    if found != kind:
        raise ArtifactError(expected, f"a {found} folder at {path}", "Check the path.")
    for file, good in ((MANIFEST, digest == digest_of(manifest)), (name, (path / name).is_file() and sha256(path / name) == checksum)):
        if not good:
            raise ArtifactError("files that match their checksums", f"a damaged {file} in {path}", "Restore the folder from a copy.")
    return dict(manifest)


def digest_of(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
