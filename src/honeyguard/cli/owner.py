"""What an owner does with a model: protect it, tune a perturbation, write it for other servers."""

import dataclasses
import secrets
import shutil
from pathlib import Path

from honeyguard import artifacts, folders, verbs
from honeyguard.data import load as load_data
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.defenses.tune import Utility
from honeyguard.defenses.tune import tune as tuned
from honeyguard.errors import OutputError, ParameterError
from honeyguard.export import export_onnx, export_program
from honeyguard.inputs import calibration, chain_of, defense_of, open_model, owner_data
from honeyguard.models import Architecture
from honeyguard.oracle import predict
from honeyguard.report import render
from honeyguard.repro import environment
from honeyguard.terminal import command_line, console, messages


def protect(
    model: str,
    *,
    data: str,
    output: Path,
    key: Path,
    weights: Path | None = None,
    shadow: str | None = None,
    test: str | None = None,
    defense: tuple[str, ...] = ("honeypot",),
    head: str | None = None,
    fit_images: tuple[int, int, int] | None = None,
    innocents: int = 10,
    seed: int | None = None,
) -> None:
    """Protect a model: write what customers may see to OUTPUT and the owner key, apart from it, to KEY.

    Args:
        model: a folder that Honeyguard wrote, package.module:function, hf:…, timm:… or a built-in name.
        data: the owner's labelled data: digits, a folder of Parquet files or images, an .npz file, or a hub id.
        output: new folder for the protected model.
        key: new folder for the owner key; keep it secret and apart.
        weights: safetensors file for the model.
        shadow: unlabelled images for the simulated theft; a tenth of the data, and distorted copies, if not given.
        test: labelled images for the utility figures; a fifth of the data if not given.
        defense: name or name:parameter=value,…; repeat it, and they apply in order.
        head: dotted path of the classification layer, if it isn't found by itself.
        fit_images: convert all images to this channels, height and width.
        innocents: models that calibrate the null of the verdict; 0 leaves it to `verify --controls`.
        seed: of everything; a fresh secret one if not given, so that nobody can make the key again.
    """
    seed = secrets.randbits(31) if seed is None else seed
    folders.check_new(output)
    folders.check_new(key)
    owner, held_out = owner_data(data, shadow, test, fit_images, seed)
    chain = chain_of(defense, seed, head)
    victim = open_model(model, owner.train.shape, owner.train.classes, weights)
    with messages():
        done = verbs.protect(victim, owner, *chain)
        evaluation = verbs.evaluate(done.model, victim.model, held_out)
        figures = dataclasses.asdict(evaluation)
        if done.key and innocents:
            done = dataclasses.replace(done, key=done.key.calibrated(calibration(done.key, owner, chain, innocents, seed)))
    if done.key:
        artifacts.save_key(done.key, key)
    try:
        artifacts.save(done, output, shape=owner.train.shape, names=owner.train.names, figures=figures)
    except BaseException:  # Ctrl-C too: no key without its model
        shutil.rmtree(key, ignore_errors=True)
        raise
    served = evaluation.accuracy
    console.print(
        f"Served accuracy {served.value:.4f} [{served.low:.4f}, {served.high:.4f}], top class kept {evaluation.fidelity.value:.4f}."
    )
    console.print(f"Customers' model: {output}" + (f"; owner key: {key} (keep it secret, and a copy)" if done.key else ""))


def tune(
    model: str,
    *,
    data: str,
    output: Path,
    defense: str = "reverse_sigmoid",
    split: str = "test",
    top1_lost: float | None = None,
    l1: float | None = None,
    nats: float | None = None,
    calibration_error: float | None = None,
    weights: Path | None = None,
    fit_images: tuple[int, int, int] | None = None,
    network: str | None = None,
) -> None:
    """The strongest setting of a perturbation that customers can bear, and what every setting costs, written to OUTPUT.

    Args:
        model: as `protect MODEL`.
        data: labelled images that the model wasn't trained on, as `protect --data`.
        output: new folder for tuning.json and report.html.
        defense: name or name:parameter=value,…; the parameter that makes it stronger is what is sought.
        split: of the data.
        top1_lost: share of answers that may change their top class.
        l1: mean L1 distance of the answers at most, from 0 to 2.
        nats: mean KL(true ‖ given) at most.
        calibration_error: expected calibration error of the given answers at most.
        weights: safetensors file for the model.
        fit_images: convert all images to this channels, height and width.
        network: as `extract --network`.
    """
    budget = Utility(top1_lost=top1_lost, l1=l1, nats=nats, calibration_error=calibration_error)
    if budget == Utility():
        raise ParameterError("a budget", "none", "Say what customers can bear: --top1-lost, --l1, --nats or --calibration-error.")
    chosen = defense_of(defense, 0, None)
    if not isinstance(chosen, OutputDefense):
        raise ParameterError("a perturbation of answers", defense, "See the table in docs/perturbations.md.")
    folders.check_new(output)
    held_out = load_data(data, split, shape=fit_images)
    victim = open_model(model, held_out.shape, held_out.classes, weights, network)
    found = tuned(chosen, predict(victim.model, held_out.images), budget, labels=held_out.labels)
    record = {
        "schema": 1,
        "kind": "tuning",
        "command": command_line(),
        "model": model,
        "data": {"source": data, "split": split, "images": len(held_out)},
        "parameter": chosen.strength.parameter if chosen.strength else "",
        "budget": dataclasses.asdict(budget),
        "defense": repr(found.defense),
        "cost": dataclasses.asdict(found.cost),
        "curve": [{"strength": strength, **dataclasses.asdict(cost)} for strength, cost in found.curve],
        "environment": environment(),
    }
    with folders.new_folder(output) as folder:
        folders.write_json(folder / "tuning.json", record)
        (folder / "report.html").write_text(render(record), encoding="utf-8")
    console.print(f"{found.defense}", markup=False, highlight=False)
    for name, value in dataclasses.asdict(found.cost).items():
        console.print(f"  {name}: {value:.4g}")
    console.print(f"Open [bold]{output}/report.html[/].")


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
