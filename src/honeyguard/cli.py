"""The command line: one command a verb."""

import dataclasses
import json
import secrets
import shutil
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from honeyguard import artifacts, cli_detection, deploy, gateway, verbs
from honeyguard.attacks import ANSWERS, QUERIES, TRAININGS, Extraction
from honeyguard.audit import STEPS, Audit
from honeyguard.benchmark import run as runner
from honeyguard.benchmark.pictures import pictures
from honeyguard.benchmark.spec import Suite, read
from honeyguard.benchmark.store import Store
from honeyguard.benchmark.story import Story, cells_of
from honeyguard.contract import check_images
from honeyguard.data import load as load_data
from honeyguard.errors import ParameterError
from honeyguard.inputs import Numbers, api_key, calibration, chain_of, open_model, open_oracle, owner_data, part_of, thieves_of
from honeyguard.oracle import Metered
from honeyguard.report import render
from honeyguard.repro import environment
from honeyguard.running import run
from honeyguard.terminal import command_line, console, messages, progress, show_audit, show_figures, show_verdicts
from honeyguard.training import Network, Recipe
from honeyguard.transfer import Recorded
from honeyguard.types import Protected
from honeyguard.verification import TriggerTest

DEMO = Path(__file__).parent / "benchmark" / "demo.toml"
app = App(
    name="honeyguard",
    suppress_keyboard_interrupt=False,
    help="Protect a classifier from model extraction, watch it being stolen, prove the theft.",
)
app.command(deploy.export)
gateway.register(app)
cli_detection.register(app)


@app.command
def demo(*, output: Path = Path("demo"), seed: int = 0) -> None:
    """The whole story on scikit-learn's digits in two minutes: protect, steal, verify, report.

    Args:
        output: new folder for report.html, report.json and what to go on with: guarded, owner.key, substitute, innocent.
        seed: of everything.
    """
    suite = dataclasses.replace(read(DEMO), seeds=(seed,))
    with artifacts.new_folder(output) as folder:
        cells = folder / "cells"
        result = _run(suite, cells, Path())
        story = Story(suite, seed, Store(cells), Path())
        result["pictures"] = pictures(story)
        artifacts.write_json(folder / "report.json", result)
        (folder / "report.html").write_text(render(result), encoding="utf-8")
        _save_story(story, folder)
        shutil.rmtree(cells)
    show_verdicts(result)
    console.print(f"Open [bold]{output}/report.html[/]. Then try: honeyguard verify {output}/substitute --key {output}/owner.key")


@app.command
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
    artifacts.check_new(output)
    artifacts.check_new(key)
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


@app.command
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
        fit_images: convert the pool to the oracle's input shape.
        transfer: folder that keeps what was paid for; OUTPUT.transfer if not given.
        api_key_file: file with the URL's API key.
        api_key_header: header that carries the key; Authorization says Bearer before it.
        seed: of everything.
    """
    artifacts.check_new(output)
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
        images = check_images(load_data(pool, shape=shape if fit_images else None).images, shape)
        meter = Metered(recorded, budget)
        if names is None:  # the one way to learn K, and a query like any other
            names = tuple(map(str, range(meter(images[:1]).shape[1])))
            attack = dataclasses.replace(attack, budget=budget - 1)
        substitute = Network(model=model).fresh(tuple(images.shape[1:]), len(names), seed)
        verbs.extract(meter, images, substitute, attack)
    artifacts.save(Protected(substitute), output, shape=tuple(images.shape[1:]), names=names, figures={"queries": meter.spent})
    console.print(f"Substitute: {output}, trained on {meter.spent} queries, which {record} keeps.")


@app.command
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
    artifacts.write_json(output / "audit.json", result)
    (output / "report.html").write_text(render(result), encoding="utf-8")
    show_audit(result)
    console.print(f"Open [bold]{output}/report.html[/].")


@app.command
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
        artifacts.write_json(output, {"schema": 1, "evaluation": figures, "environment": environment()})


@app.command
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
        artifacts.write_json(output, {"schema": 1, "verdict": dataclasses.asdict(verdict), "environment": environment()})


@app.command
def benchmark(
    suite: Path,
    *,
    output: Path,
    seeds: tuple[int, ...] = (),
    cells: Path = Path("runs/cells"),
    data_root: Path = Path("data"),
    workers: int = 1,
) -> None:
    """Run a suite and write its record; a run that was stopped goes on where it was.

    Args:
        suite: TOML file, as in benchmarks/.
        output: JSON file of the record.
        seeds: other seeds than the suite's.
        cells: folder of finished steps.
        data_root: folder in which the suite's data sets lie; what is not there is looked up on the hub.
        workers: seeds at a time, one core each.
    """
    chosen = read(suite)
    result = _run(dataclasses.replace(chosen, seeds=seeds or chosen.seeds), cells, data_root, workers)
    artifacts.write_json(output, result)
    for name, value in result["headline"].items():
        console.print(f"{name}: {value:.4g}")


@app.command
def report(result: Path, *, output: Path = Path("report.html")) -> None:
    """Render a record as one self-contained page.

    Args:
        result: JSON file that demo or benchmark wrote.
        output: HTML file.
    """
    try:
        content = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError("a record in JSON", f"{result} ({error})", "Name a file that demo or benchmark wrote.") from None
    output.write_text(render(content), encoding="utf-8")
    console.print(f"Open [bold]{output}[/].")


def main() -> None:
    """Run the command line."""
    run(app)


# -------------------------------------------------------------------------------------------------------------- helpers


def _run(suite: Suite, cells: Path, data_root: Path, workers: int = 1) -> dict[str, Any]:
    with progress(suite.name, len(suite.seeds) * sum(1 for _ in cells_of(suite))) as note:
        return runner.run(suite, cells=cells, data_root=data_root, workers=workers, command=command_line(), note=note)


def _save_story(story: Story, folder: Path) -> None:
    """What a reader of the demo goes on with."""
    shape, names = story.labelled.shape, story.labelled.names
    key = story.keys["honeypot"]
    guarded = dataclasses.replace(story.guarded["honeypot"].protected, key=key)
    artifacts.save(guarded, folder / "guarded", shape=shape, names=names)
    artifacts.save_key(key, folder / "owner.key")
    chosen = {"victim": story.suspects[0].model} if not story.suspects else {}
    for suspect in story.suspects:
        if suspect.role in {"stolen", "innocent", "victim"}:
            chosen.setdefault({"stolen": "substitute"}.get(suspect.role, suspect.role), suspect.model)
    for name, model in chosen.items():
        artifacts.save(Protected(model), folder / name, shape=shape, names=names)


if __name__ == "__main__":
    main()
