"""The model behind the gateway: `model.onnx` of a guarded folder by ONNX Runtime, or the Python module where there is none."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from honeyguard.errors import ArtifactError, MissingExtraError, ModelError
from honeyguard.folders import SERVED, read_manifest
from honeyguard.gateway.batching import Batcher
from honeyguard.gateway.protocol import Array

log = logging.getLogger(__name__)
LARGEST = 64
TOLERANCE = 1e-3


class BrokenModelError(Exception):
    """Answers that are no distributions: nothing of them may be shown."""


@dataclass(frozen=True)
class Answers:
    """Probabilities (N, K) and, for the detectors alone, features (N, D)."""

    probabilities: Array
    features: Array | None = None


class Backend(Protocol):
    """What answers: images (N, C, H, W) -> answers, already defended; with the names of the defenses, the utility figures and D."""

    shape: tuple[int, ...]
    classes: tuple[str, ...]
    defenses: tuple[str, ...]
    figures: dict[str, Any]
    features: int | None

    async def __call__(self, images: Array, *, alone: bool = False) -> Answers:
        """`alone` says that no other query is under way."""

    async def ready(self) -> bool: ...

    async def close(self) -> None: ...


class Local:
    """A model in this process, with micro-batches over requests.

    Args:
        run: images -> answers.
    """

    def __init__(self, run: Callable[[Array], Answers], manifest: dict[str, Any]) -> None:
        self.shape = tuple(manifest["input"]["shape"])
        self.classes = tuple(manifest["classes"])
        self.defenses = tuple(defense["name"] for defense in manifest["defenses"])
        self.figures: dict[str, Any] = manifest["figures"]
        self._run = run
        self._batcher: Batcher[Array, Answers] = Batcher(self._run_all, largest=LARGEST, size=len)
        sample = np.zeros((1, *self.shape), np.float32)
        self._batcher.measure([sample])
        found = run(sample).features
        self.features = None if found is None else found[0].size

    async def __call__(self, images: Array, *, alone: bool = False) -> Answers:
        return await self._batcher(images, alone=alone)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        self._batcher.close()

    def _run_all(self, parts: list[Array]) -> list[Answers]:
        answers = self._run(parts[0] if len(parts) == 1 else np.concatenate(parts))
        if len(parts) == 1:
            return [answers]
        ends = np.cumsum([len(part) for part in parts])[:-1]
        features = [None] * len(parts) if answers.features is None else np.split(answers.features, ends)
        return [Answers(*pair) for pair in zip(np.split(answers.probabilities, ends), features, strict=True)]


def open_folder(folder: Path, threads: int = 1) -> Local:
    """The model in a folder that Honeyguard wrote.

    Raises: ArtifactError: a missing or damaged file. ModelError: a graph of something else. MissingExtraError.
    """
    manifest = read_manifest(folder)
    if SERVED in manifest["sha256"]:
        return Local(_onnx(folder, manifest, threads), manifest)
    log.warning("no %s in %s: the Python module answers, several times slower", SERVED, folder)
    return Local(_module(folder, threads), manifest)


def checked(answers: Array, rows: int, classes: int) -> Array:
    """The answers (N, K) if they are distributions. Raises: BrokenModelError."""
    if answers.shape != (rows, classes):
        raise BrokenModelError(f"answers of shape {answers.shape} instead of {(rows, classes)}")
    sums = np.add.reduce(answers, 1).tolist()
    if not (
        np.minimum.reduce(answers, axis=None) >= -TOLERANCE and all(abs(total - 1) <= TOLERANCE for total in sums)
    ):  # NaN passes neither
        raise BrokenModelError("answers that are no distributions")
    return answers


def _onnx(folder: Path, manifest: dict[str, Any], threads: int) -> Callable[[Array], Answers]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("the extra 'onnx'", f"no onnxruntime ({error})", "pip install 'honeyguard[onnx]'") from None
    file = folder / SERVED
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != manifest["sha256"][file.name]:
        raise ArtifactError("files that match their checksums", f"a damaged {file.name} in {folder}", "Restore the folder from a copy.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen classes that share nothing
        raise ModelError("an ONNX file", f"{file} ({' '.join(str(error).split())[:200]})", "Export the model again.") from None
    (source,), outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if "probabilities" not in outputs:
        raise ModelError("a graph with the output 'probabilities'", f"{outputs} in {file}", "Export the model again.")
    wanted = ["probabilities", "features"] if "features" in outputs else ["probabilities"]
    return lambda images: Answers(*session.run(wanted, {source: images}))


def _module(folder: Path, threads: int) -> Callable[[Array], Answers]:
    import torch

    from honeyguard import artifacts

    torch.set_num_threads(threads)
    model = artifacts.load(folder)[0].model

    def run(images: Array) -> Answers:
        with torch.inference_mode():
            return Answers(model(torch.tensor(images)).numpy())

    return run
