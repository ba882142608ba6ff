"""A protected model as one file that serves without this package: ONNX or `torch.export`, output defenses inside the graph."""

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from honeyguard.errors import MissingExtraError, ModelError
from honeyguard.files import new_file
from honeyguard.models import find_head
from honeyguard.types import Protected, Served

TOLERANCE = 1e-4  # between file and Python on random images; an export that went wrong is off by far more


class WithFeatures(nn.Module):
    """Images -> probabilities (N, K) and the inputs (N, D) of the classification layer, in one pass."""

    def __init__(self, served: Served, head: str) -> None:
        super().__init__()
        self.served, self.head = served, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        captured: list[Tensor] = []
        hook = self.served.network.get_submodule(self.head).register_forward_pre_hook(lambda _m, inputs: captured.append(inputs[0]))
        try:
            return self.served(images), captured[0]
        finally:
            hook.remove()


def export_onnx(protected: Protected, path: Path, shape: tuple[int, ...], *, features: bool = True) -> None:
    """Write an ONNX file that ONNX Runtime serves: `images` (N, C, H, W) float32 in [0, 1] -> `probabilities` (N, K).

    Args:
        protected: what customers may see; its owner key stays out.
        path: the file, written whole or not at all.
        shape: (C, H, W) of an image.
        features: a second output `features` (N, D), the inputs of the classification layer, for detectors of suspicious clients.
            They must not be shown to customers.
    Raises: MissingExtraError. OutputError. ClassificationLayerError: features of a model that has no such layer.
        ModelError: a model that can't be exported, or whose file answers otherwise than the model.
    """
    runtime = _onnx_runtime()
    model, sample = _model(protected, shape, features)
    names = ["probabilities", "features"] if features else ["probabilities"]
    with new_file(path) as partial, _exporting():
        torch.onnx.export(_program(model, sample), (), partial, input_names=["images"], output_names=names, external_data=False)
        session = runtime.InferenceSession(partial, providers=["CPUExecutionProvider"])
        for n in (1, len(sample)):
            answers = session.run(names, {"images": sample[:n].numpy()})
            for found, expected in zip(answers, _answers(model, sample[:n]), strict=True):
                torch.testing.assert_close(torch.as_tensor(found), expected, atol=TOLERANCE, rtol=TOLERANCE)


def export_program(protected: Protected, path: Path, shape: tuple[int, ...]) -> None:
    """Write a .pt2 file that `torch.export.load` reads: images (N, C, H, W) -> probabilities (N, K).

    Raises: OutputError. ModelError: a model that can't be exported.
    """
    with new_file(path) as partial, _exporting():
        torch.export.save(_program(*_model(protected, shape, features=False)), partial)


def _model(protected: Protected, shape: tuple[int, ...], features: bool) -> tuple[nn.Module, Tensor]:
    """The module to export, on the CPU, and sample images."""
    served = copy.deepcopy(protected.model).cpu()
    sample = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    return (WithFeatures(served, find_head(served.network, sample)).eval() if features else served), sample


def _answers(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        found = model(images)
    return found if isinstance(found, tuple) else (found,)


def _program(model: nn.Module, sample: Tensor) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(model, (sample,), dynamic_shapes=({0: torch.export.Dim("N")},), strict=False)


@contextmanager
def _exporting() -> Iterator[None]:
    """What exporters print, warn and log is kept from the user; what they raise becomes one error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:  # each exporter has classes of its own, which share nothing
        detail = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ModelError("a model that can be exported", detail, "Avoid branches on values and fixed batches in its forward.") from None
    finally:
        logging.disable(disabled)


def _onnx_runtime() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as error:
        raise MissingExtraError("the extra 'onnx'", f"no {error.name}", "pip install 'honeyguard[onnx]'") from None
    return onnxruntime
