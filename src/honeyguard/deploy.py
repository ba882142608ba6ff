"""The command that writes a guarded model for other servers."""

from pathlib import Path

from honeyguard import artifacts
from honeyguard.errors import OutputError
from honeyguard.export import export_onnx, export_program
from honeyguard.models import Architecture
from honeyguard.terminal import console


def export(guarded: Path, *, output: Path, network: str | None = None, features: bool = False) -> None:
    """Write a guarded model to one file that serves without Honeyguard, its output defenses inside.

    Args:
        guarded: folder that `protect` wrote.
        output: file.onnx, for ONNX Runtime, or file.pt2, for torch.export.load.
        network: package.module:function of the network, where it is the owner's own class.
        features: a second output of the ONNX file, the classification layer's inputs; for detectors, never for customers.
    """
    if output.suffix not in {".onnx", ".pt2"}:
        raise OutputError("a file that ends in .onnx or .pt2", str(output), "Rename it.")
    protected, manifest = artifacts.load(guarded, Architecture(network).build() if network else None)
    shape = tuple(manifest["input"]["shape"])
    if output.suffix == ".onnx":
        export_onnx(protected, output, shape, features=features)
    else:
        export_program(protected, output, shape)
    console.print(f"Customers' model, as one file: {output}")
