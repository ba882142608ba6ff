"""What a thief does with an API, and what an owner learns from it: extract, audit."""

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from honeyguard import artifacts, folders, verbs
from honeyguard.attacks import ANSWERS, QUERIES, TRAININGS, Extraction
from honeyguard.audit import STEPS, Audit
from honeyguard.contract import check_images, check_range
from honeyguard.data import distorted
from honeyguard.data import load as load_data
from honeyguard.inputs import Numbers, api_key, open_oracle, part_of, thieves_of
from honeyguard.oracle import Metered
from honeyguard.report import render
from honeyguard.repro import derive
from honeyguard.terminal import command_line, console, messages, progress, show_audit
from honeyguard.training import Network, Recipe
from honeyguard.transfer import Recorded
from honeyguard.types import Protected


def extract(
    oracle: str,
    *,
    pool: str,
    budget: int,
    output: Path,
    network: str | None = None,
    model: str = "cnn",
    query: str = "random",
    answer: str = "as_given",
    training: str = "supervised",
    recipe: Annotated[Recipe | None, Parameter(name="*")] = None,
    distortions: int = 0,
    fit_images: bool = False,
    transfer: Path | None = None,
    api_key_file: Path | None = None,
    api_key_header: str = "Authorization",
    seed: int = 0,
) -> None:
    """Steal a model: train a substitute on an oracle's answers, and write it to OUTPUT.

    A theft that was stopped goes on where it was when the same command is given again. An API key is read from the environment variable
    HONEYGUARD_API_KEY or a file.

    Args:
        oracle: a folder that Honeyguard wrote, an .onnx file, or the URL of a model, http(s)://host/v2/models/name.
        network: package.module:function of a folder's network, where it is the owner's own class.
        pool: images to send, as `protect --data`.
        budget: images sent at most.
        output: new folder for the substitute.
        model: the substitute's network.
        query: which images to send: name or name:parameter=value,…
        answer: how to read the answers, likewise.
        training: how to train the substitute, likewise.
        distortions: distorted copies of each image of the pool, to send as well: what a thief does who is short of images.
        fit_images: convert the pool to the oracle's input shape.
        transfer: folder that keeps what was paid for; OUTPUT.transfer if not given.
        api_key_file: file with the URL's API key.
        api_key_header: header that carries the key; Authorization says Bearer before it.
        seed: of everything.
    """
    folders.check_new(output)
    check_range("distortions", distortions, 0, 1000)
    attack = Extraction(
        budget=budget,
        query=part_of("query strategy", QUERIES, query),
        answer=part_of("answer strategy", ANSWERS, answer),
        training=part_of("training strategy", TRAININGS, training),
        recipe=recipe or Recipe(),
        seed=seed,
    )
    record = transfer or output.with_name(f"{output.name}.transfer")
    with (
        messages(),
        open_oracle(oracle, network=network, key=api_key(api_key_file), key_header=api_key_header) as (opened, shape, names),
        Recorded(opened, record, budget=budget, name=oracle) as recorded,
    ):
        clean = check_images(load_data(pool, shape=shape if fit_images else None).images, shape)
        images = distorted(clean, distortions, derive(seed, "distortions"))
        meter = Metered(recorded, budget)
        if names is None:  # the one way to learn K, and a query like any other
            names = tuple(map(str, range(meter(images[:1]).shape[1])))
            attack = dataclasses.replace(attack, budget=budget - 1)
        substitute = Network(model=model).fresh(tuple(images.shape[1:]), len(names), seed)
        verbs.extract(meter, images, substitute, attack)
    artifacts.save(Protected(substitute), output, shape=tuple(images.shape[1:]), names=names, figures={"queries": meter.spent})
    console.print(f"Substitute: {output}, trained on {meter.spent} queries, which {record} keeps.")


def audit(
    oracle: str,
    *,
    pool: str,
    budgets: Numbers,
    output: Path,
    test: str | None = None,
    query: tuple[str, ...] = (),
    answer: tuple[str, ...] = (),
    model: str = "lenet",
    recipe: Annotated[Recipe | None, Parameter(name="*")] = None,
    price: float | None = None,
    seeds: Numbers = (0,),
    held_out: int | None = None,
    fit_images: bool = False,
    network: str | None = None,
    api_key_file: Path | None = None,
    api_key_header: str = "Authorization",
) -> None:
    """How stealable is this API: let thieves with growing budgets copy it, and write figures, page and advice to OUTPUT.

    An audit that was stopped goes on where it was when the same command is given again.

    Args:
        oracle: as `extract ORACLE`.
        pool: images to send, as `protect --data`.
        budgets: images that a thief sends, increasing: 500,2000,8000.
        output: new folder for audit.json, report.html and the answers that were paid for.
        test: labelled images, for accuracy; the oracle is asked about them too.
        query: a thief's choice of images, as `extract --query`; repeat it to compare several.
        answer: a thief's reading of the answers, as `extract --answer`; repeat it, and each is tried with each choice of images.
        model: the substitutes' network; its training takes 300 steps at least, unless told otherwise.
        price: dollars for 1000 queries.
        seeds: of the thefts: 0,1,2.
        held_out: images of the pool that no thief sends, to measure on; a fifth unless given, 1000 at most.
        fit_images: convert pool and test images to the oracle's input shape.
        network: as `extract --network`.
        api_key_file: as `extract --api-key-file`.
        api_key_header: as `extract --api-key-header`.
    """
    thieves, chosen = thieves_of(query, answer), recipe or Recipe()
    copies = Network(model=model, recipe=dataclasses.replace(chosen, least_steps=chosen.least_steps or STEPS))
    plan = Audit(budgets=budgets, thieves=thieves, network=copies, seeds=seeds, held_out=held_out, price=price)
    with open_oracle(oracle, network=network, key=api_key(api_key_file), key_header=api_key_header) as (opened, shape, _):
        images = check_images(load_data(pool, shape=shape if fit_images else None).images, shape)
        labelled = load_data(test, "test", shape=tuple(images.shape[1:]) if fit_images else None) if test else None
        console.print(f"This asks {oracle} about {plan.most(images, labelled):,} images at most.", highlight=False)
        with progress("asking", len(thieves) * len(budgets) * len(seeds)) as note:
            given = {"pool": pool, "test": test, "fit_images": fit_images}
            result = plan.run(opened, images, output, test=labelled, name=oracle, note=note, command=command_line(), arguments=given)
    folders.write_json(output / "audit.json", result)
    (output / "report.html").write_text(render(result), encoding="utf-8")
    show_audit(result)
    console.print(f"Open [bold]{output}/report.html[/].")
