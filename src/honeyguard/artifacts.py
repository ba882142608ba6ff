"""Models and owner keys on disk: safetensors weights, a JSON manifest with checksums, no pickle, no foreign code."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from honeyguard.defenses import DEFENSES
from honeyguard.defenses.honeypot.kept import kept_head, with_kept_head
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ArtifactError, ClassificationLayerError, MissingExtraError, ModelError
from honeyguard.export import export_onnx
from honeyguard.folders import MANIFEST, SCHEMA, SERVED, WEIGHTS, digest_of, new_folder, read_folder, read_manifest, sha256, write_json
from honeyguard.models import Architecture, architecture_of, load_weights
from honeyguard.repro import environment
from honeyguard.types import Defense, OwnerKey, Protected, Trigger

SECRETS = "key.safetensors"
log = logging.getLogger(__name__)


# --------------------------------------------------------------------------------------------------------------- models


def save(
    protected: Protected, path: Path, *, shape: tuple[int, ...], names: tuple[str, ...], figures: Mapping[str, Any] | None = None
) -> None:
    """Write what customers may see: weights, output defenses, input contract, utility figures. Never the owner key.

    A protected model is also exported, to model.onnx, where the extra `onnx` is installed and the model can be; a substitute, which nobody
    serves, is not.

    Args:
        path: a new or empty folder.
        shape: (C, H, W) of an image.  names: of the K classes.
        figures: utility figures for the manifest.
    Raises: OutputError, ModelError: an output defense that is not in `DEFENSES`.
    """
    outputs = [_described(defense) for defense in protected.outputs]
    architecture = architecture_of(protected.network)
    manifest = {
        "kind": "model",
        "architecture": asdict(architecture) if architecture else None,
        "kept_top1": kept_head(protected.network),
        "input": {"shape": list(shape), "dtype": "float32", "range": [0, 1]},
        "classes": list(names),
        "outputs": outputs,
        "defenses": [_public(defense) for defense in protected.defenses],
        "commitment": protected.key.commitment if protected.key else None,
        "figures": dict(figures or {}),
    }
    weights = dict(protected.network.state_dict())
    _write(path, manifest, WEIGHTS, weights, more=lambda folder: _export(protected, folder / SERVED, shape))


def load(path: Path, network: nn.Module | None = None) -> tuple[Protected, dict[str, Any]]:
    """Read a model that `save` wrote, and its manifest. The key stays with the owner, so `key` is None.

    Args:
        network: a network to load the weights into; needed where the model is the owner's own class, because an artifact never
            names code to run.
    Raises: ArtifactError: missing, damaged, foreign or newer files. ModelError: no network to load into.
    """
    manifest = read_manifest(path)
    if network is None:
        stored = manifest["architecture"]
        architecture = Architecture(**stored) if stored else None
        if architecture is None or architecture.foreign:
            what = architecture.spec if architecture else "a class of the owner's own"
            advice = (
                f"An artifact never says which code to run: name the network, or give it as the model with the weights {path / WEIGHTS}."
            )
            raise ModelError("the network of this model", f"none, and it is {what}", advice)
        network = architecture.build()
    load_weights(with_kept_head(network, manifest.get("kept_top1")), path / WEIGHTS)
    outputs = tuple(_defense(entry) for entry in manifest["outputs"])
    return Protected(network.eval(), tuple(o for o in outputs if isinstance(o, OutputDefense))), manifest


def _export(protected: Protected, path: Path, shape: tuple[int, ...]) -> None:
    if not protected.defenses:
        return
    try:
        try:
            export_onnx(protected, path, shape)
        except ClassificationLayerError:
            export_onnx(protected, path, shape, features=False)
    except MissingExtraError:
        log.info("no %s without the extra 'onnx'", path.name)
    except ModelError as error:
        log.warning("no %s: %s", path.name, error)


def _public(defense: Any) -> dict[str, Any]:
    """A defense and its parameters, less those that are marked secret."""
    secret = {f.name for f in fields(defense) if f.metadata.get("secret")}
    parameters = {k: v for k, v in asdict(defense).items() if k not in secret}
    parameters |= {k: _public(getattr(defense, k)) for k in parameters if isinstance(getattr(defense, k), OutputDefense)}
    return {"name": type(defense).__name__, "parameters": parameters}


def _described(defense: object) -> dict[str, Any]:
    name = next((name for name, known in DEFENSES.items() if type(defense) is known), None)
    if name is None or not isinstance(defense, OutputDefense):
        raise ModelError(
            f"output defenses from {', '.join(DEFENSES)}", repr(defense), "Only these can be stored; serve others from Python."
        )
    arguments = {f.name: getattr(defense, f.name) for f in fields(defense)}
    return {"name": name, "arguments": {k: _described(v) if isinstance(v, OutputDefense) else v for k, v in arguments.items()}}


def _defense(entry: Mapping[str, Any]) -> Defense:
    """The defense that `_described` described, and the one within it."""
    arguments = {k: _defense(v) if isinstance(v, dict) else v for k, v in entry["arguments"].items()}
    return DEFENSES[entry["name"]](**arguments)


# ----------------------------------------------------------------------------------------------------------------- keys


def save_key(key: OwnerKey, path: Path) -> None:
    """Write the owner key to a new folder that only its owner can read."""
    manifest = {
        "kind": "owner key",
        "target_class": key.target_class,
        "classes": key.classes,
        "nonce": key.nonce,
        "calibration": list(key.calibration),
        "commitment": key.commitment,
    }
    tensors = {"delta": key.trigger.delta, "mask": key.trigger.mask, "probes": key.probes}
    _write(path, manifest, SECRETS, tensors, mode=0o700)


def load_key(path: Path) -> OwnerKey:
    """Read an owner key. Raises: ArtifactError: missing, damaged, foreign, newer, or not the key it was committed as."""
    manifest = read_folder(path, "owner key", SECRETS)
    tensors = load_file(path / SECRETS)
    trigger = Trigger(tensors["delta"], tensors["mask"])
    target, classes, calibration = manifest["target_class"], manifest["classes"], tuple(manifest["calibration"])
    key = OwnerKey(trigger, target, classes, tensors["probes"], manifest["nonce"], calibration)
    if key.commitment != manifest["commitment"]:
        raise ArtifactError("a key that matches its commitment", f"another at {path}", "Restore the key from a copy.")
    return key


# ---------------------------------------------------------------------------------------------------------------- files


def _write(
    path: Path,
    manifest: dict[str, Any],
    name: str,
    tensors: Mapping[str, Tensor],
    *,
    mode: int = 0o755,
    more: Callable[[Path], None] = lambda _: None,
) -> None:
    """Weights, whatever `more` writes into the folder, and the manifest of all."""
    with new_folder(path, mode=mode) as folder:
        # Tensors that share memory (tied weights) are stored apart: safetensors refuses them.
        save_file({key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}, folder / name)
        more(folder)
        known = environment()
        manifest = {
            "schema": SCHEMA,
            **manifest,
            "packages": known["packages"],
            "commit": known["commit"],
            "sha256": {file.name: sha256(file) for file in sorted(folder.iterdir())},
        }
        write_json(folder / MANIFEST, {**manifest, "sha256_manifest": digest_of(manifest)})
