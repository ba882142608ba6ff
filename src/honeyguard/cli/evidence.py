"""Measuring suspects and judging them: evaluate, verify, attribute."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import torch

from honeyguard import artifacts, folders, verbs
from honeyguard.data import load as load_data
from honeyguard.detection.dawn import load_marks
from honeyguard.inputs import open_model, open_oracle
from honeyguard.repro import environment
from honeyguard.terminal import console, show_figures
from honeyguard.verification import TriggerTest
from honeyguard.verification.attribution import MarkedSet, MarkTest


def evaluate(
    suspect: str,
    *,
    reference: str,
    data: str,
    split: str = "test",
    key: Path | None = None,
    weights: Path | None = None,
    reference_network: str | None = None,
    output: Path | None = None,
) -> None:
    """Measure a model beside its reference: accuracy, fidelity, distortion and, with the owner key, attack success rate.

    Args:
        suspect: a model, as `protect MODEL`.
        reference: the model it is compared with: the victim, or the protected model it was stolen from.
        data: labelled test images, as `protect --data`.
        split: of the data.
        key: the owner key.
        weights: safetensors file for the suspect.
        reference_network: package.module:function of the reference's network, where it is the owner's own class.
        output: also write the figures to this JSON file.
    """
    test = load_data(data, split)
    secret = artifacts.load_key(key) if key else None
    opened = (
        open_model(suspect, test.shape, test.classes, weights),
        open_model(reference, test.shape, test.classes, network=reference_network),
    )
    evaluation = verbs.evaluate(opened[0].model, opened[1].model, test, secret)
    figures = dataclasses.asdict(evaluation)
    show_figures(figures)
    if output:
        folders.write_json(output, {"schema": 1, "evaluation": figures, "environment": environment()})


def verify(
    suspect: str,
    *,
    key: Path,
    controls: tuple[str, ...] = (),
    weights: Path | None = None,
    significance: float = 0.001,
    output: Path | None = None,
) -> None:
    """Judge a suspect by its labels on the key's probes.

    Args:
        suspect: a model, as `protect MODEL`.
        key: the owner key.
        controls: models that did not steal; the calibration in the key if not given.
        weights: safetensors file for the suspect.
        significance: false-positive rate at which to accuse.
        output: also write the verdict to this JSON file.
    """
    secret = artifacts.load_key(key)
    shape = tuple(secret.probes.shape[1:])
    others = [open_model(name, shape, secret.classes).model for name in controls]
    opened = open_model(suspect, shape, secret.classes, weights).model
    verdict = TriggerTest(significance=significance).verify(opened, secret, others or secret.calibration)
    console.print(verdict.conclusion)
    for name, value in dataclasses.asdict(verdict).items():
        if name != "conclusion":
            console.print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
    if output:
        folders.write_json(output, {"schema": 1, "verdict": dataclasses.asdict(verdict), "environment": environment()})


def attribute(
    suspect: str,
    *,
    marks: Path,
    controls: tuple[str, ...],
    network: str | None = None,
    significance: float = 0.001,
    output: Path | None = None,
) -> None:
    """Which client's marked answers did a suspect learn? Nobody is named where that isn't sure.

    Args:
        suspect: as `extract ORACLE`.
        marks: .npz file of every client's marks.
        controls: the served model and others that did not steal, as `extract ORACLE`; three at least.
        network: as `extract --network`.
        significance: chance that anybody is named although the suspect learnt no client's answers.
        output: also write the finding to this JSON file.
    """
    with ExitStack() as opened:
        judged, *innocents = (opened.enter_context(open_oracle(name, network=network))[0] for name in (suspect, *controls))
        sets = {
            client: MarkedSet(*map(torch.as_tensor, (marked.images, marked.told, marked.hidden)))
            for client, marked in load_marks(marks).items()
        }
        found = MarkTest(significance=significance).attribute(judged, sets, innocents)
    console.print(found.conclusion)
    for client, p_value in sorted(found.p_values.items(), key=lambda pair: pair[1]):
        console.print(f"  {client}: p = {p_value:.2g} of {found.marks[client]} marks", markup=False, highlight=False)
    if output:
        folders.write_json(output, {"schema": 1, "attribution": dataclasses.asdict(found), "environment": environment()})
