"""A transfer set as a folder of chunks: safetensors files that are whole or not there, and a manifest."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from honeyguard.contract import check_answers, check_images
from honeyguard.errors import ArtifactError, HoneyguardError, OutputError
from honeyguard.folders import MANIFEST, write_json
from honeyguard.types import TransferSet

SCHEMA, KIND = 1, "transfer set"
LOCK = ".lock"
NAME = re.compile(r"(\d{6})-([0-9a-f]{16})\.safetensors")  # number and digest of the content


def lock_folder(folder: Path) -> FileLock:
    """Make the folder if need be, and hold it against other processes. Raises: OutputError: foreign, in use, or not writable."""
    try:
        if folder.is_dir() and not (folder / MANIFEST).exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise OutputError("a transfer folder, or a new one", f"{folder}", "Choose another place.")
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False, thread_local=False)
        lock.acquire()
    except Timeout:
        raise OutputError("a transfer folder of its own", f"{folder}, which another theft is using", "Wait for that one.") from None
    except OSError as error:
        raise OutputError("a folder that can be written", f"{folder} ({error.strerror})", "Choose another place.") from None
    return lock


def claim_folder(folder: Path, name: str) -> None:
    """Make a locked folder that of the oracle `name`, and clear what a kill left half-written. Raises: ArtifactError: another's."""
    if not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, {"schema": SCHEMA, "kind": KIND, "oracle": name})
    if (found := read_name(folder)) != name:
        raise ArtifactError(f"a transfer set of {name!r}", f"one of {found!r} at {folder}", "Choose another folder.")
    for partial in folder.glob(".*.safetensors"):
        partial.unlink()


def read_name(folder: Path) -> str:
    """Name of the oracle whose answers a folder holds. Raises: ArtifactError: missing, damaged, foreign or newer."""
    expected = "a Honeyguard transfer set"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        schema, kind, name = int(manifest["schema"]), manifest["kind"], str(manifest["oracle"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(expected, f"{folder} ({type(error).__name__}: {error})", "Check the path.") from None
    if kind != KIND or schema > SCHEMA:
        raise ArtifactError(expected, f"a {kind} of schema {schema} at {folder}", "Check the path, or install a newer Honeyguard.")
    return name


def read_chunks(folder: Path) -> Iterator[TransferSet]:
    """The chunks, in order. Raises: ArtifactError: one that is damaged, foreign or missing."""
    classes = 0
    for number, path in enumerate(sorted(folder.glob("[!.]*.safetensors"))):
        try:
            content, named = path.read_bytes(), NAME.fullmatch(path.name)
            if not named or int(named[1]) != number or _digest(content) != named[2]:
                raise ValueError("its name doesn't fit its place or its content")
            tensors = load(content)
            images = tensors["images"].float() / 255 if tensors["images"].dtype == torch.uint8 else tensors["images"]
            part = TransferSet(check_images(images), check_answers(tensors["answers"], len(images)))
            if classes not in (0, part.answers.shape[1]):
                raise ValueError(f"{part.answers.shape[1]} classes after {classes}")
        except (OSError, ValueError, KeyError, SafetensorError, HoneyguardError) as error:
            do = "Restore it from a copy, or start a new theft."
            raise ArtifactError("a whole chunk of a transfer set", f"{path} ({error})", do) from None
        classes = part.answers.shape[1]
        yield part


def write_chunk(folder: Path, number: int, part: TransferSet) -> None:
    """Write one chunk in one step, down to the disk. Raises: OutputError."""
    content = save({"images": _small(part.images), "answers": part.answers.contiguous()})
    path = folder / f"{number:06}-{_digest(content)}.safetensors"
    partial = path.with_name(f".{path.name}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError("a folder that can be written", f"{folder} ({error.strerror})", "Make room, then run again.") from None


def _small(images: Tensor) -> Tensor:
    """Images as bytes where that loses nothing, to the bit."""
    small = (images * 255).round().to(torch.uint8)
    same = torch.equal((small.float() / 255).view(torch.int32), images.contiguous().view(torch.int32))
    return small if same else images.contiguous()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
