"""Thresholds for suspicious clients: calibrate."""

from pathlib import Path

import torch

from honeyguard import folders
from honeyguard.contract import check_images
from honeyguard.data import load as load_data
from honeyguard.detection import DETECTORS, thresholds
from honeyguard.errors import UnknownNameError
from honeyguard.inputs import api_key, open_oracle
from honeyguard.repro import derive
from honeyguard.terminal import console, messages
from honeyguard.traffic import clients_of, observed

STREAMS = 1000


def calibrate(
    model: str,
    *,
    traffic: tuple[str, ...],
    output: Path,
    detector: tuple[str, ...] = tuple(DETECTORS),
    false_alarms: float = 0.01,
    client_day: int = 200,
    days: int = 1,
    fit_images: bool = False,
    network: str | None = None,
    api_key_file: Path | None = None,
    api_key_header: str = "Authorization",
    seed: int = 0,
) -> None:
    """Thresholds for suspicious clients, from the owner's own benign traffic, at a stated rate of false alarms.

    A third of the images teaches the detectors what is benign; clients who send random ones of the others set the thresholds.

    Args:
        model: what customers' answers come from, as `extract ORACLE`; features are known of a folder alone.
        traffic: benign images as `protect --data`; repeat it to bring several sources.
        output: JSON file of the thresholds.
        detector: name of a detector; repeat it. All if not given.
        false_alarms: a client and day, at most, over all detectors together.
        client_day: images that a client sends a day.
        days: of a client, from its first image on, for which that shall hold.
        fit_images: convert the images to the model's input shape.
        network: as `extract --network`.
        api_key_file: as `extract --api-key-file`.
        api_key_header: as `extract --api-key-header`.
        seed: of the random clients.
    """
    for name in detector:
        if name not in DETECTORS:
            raise UnknownNameError("detector", name, DETECTORS)
    with messages(), open_oracle(model, network=network, key=api_key(api_key_file), key_header=api_key_header) as (oracle, shape, _):
        images = torch.cat([check_images(load_data(source, shape=shape if fit_images else None).images, shape) for source in traffic])
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive(seed, "order")))
        queries, third = observed(oracle, images[order]), len(images) // 3
        fitted = {name: DETECTORS[name]().fit(queries[:third]) for name in detector}
        rounds = clients_of(queries[third:], length=days * client_day, streams=STREAMS, seed=derive(seed, "clients"))
        found = thresholds.calibrate(fitted, list(rounds), false_alarms, client_day=client_day)
    folders.write_json(output, found.content())
    for name, value in found.values.items():
        console.print(f"  {name}: {value:.4g}")
    bound = f"{100 * found.bound:.2g} false alarms in 100 client-days at most, with 95 % confidence"
    console.print(f"Thresholds: {output}; {bound}, for clients who send such images.")
