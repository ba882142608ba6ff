"""The gateway on the command line: serve, clients, ledger."""

import dataclasses
import logging
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from honeyguard.detection.thresholds import Thresholds
from honeyguard.errors import MissingExtraError, ParameterError
from honeyguard.folders import read_manifest

try:
    from honeyguard.gateway import clients as registry
    from honeyguard.gateway import launch
    from honeyguard.gateway import ledger as records
    from honeyguard.gateway import marks as marks_table
    from honeyguard.gateway.config import Config, read
    from honeyguard.gateway.observability import JsonLines, trace
    from honeyguard.gateway.replay import replayed
    from honeyguard.gateway.store import clients as client_table
    from honeyguard.gateway.store import open_store
except ModuleNotFoundError as error:
    raise MissingExtraError("the extra 'serve'", f"no {error.name}", "pip install 'honeyguard[serve,onnx]'") from None

console = Console()
Settings = Annotated[Path | None, Parameter(name="--config")]


def serve(
    folder: Path | None = None,
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    config: Settings = None,
    state: str | None = None,
    database: str | None = None,
    model: str | None = None,
    upstream: str | None = None,
    defense: tuple[str, ...] = (),
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    json_logs: bool = False,
    ray: bool = False,
    replicas: int = 2,
) -> None:
    """Serve a protected model, or stand in front of a server that is already there. Nobody gets an answer without a key.

    Make keys with `honeyguard clients add NAME`; docs/gateway.md explains the configuration.

    Args:
        folder: what `honeyguard protect` wrote for customers.
        port: to listen on; 0 chooses a free one.
        host: address to listen on; 0.0.0.0 for all.
        config: TOML file; the options here come before it.
        state: folder of the server's secret, journal and database.
        database: URL; SQLite in STATE if not given.
        model: the name that clients ask for.
        upstream: root URL of a Triton, KServe or MLServer to stand in front of, instead of FOLDER.
        defense: output defense on what upstream answers, name:parameter=value,…; repeat it, and they apply in order.
        tls_cert: certificate chain in PEM; answers https.
        tls_key: its key.
        json_logs: one JSON object a line, on standard error.
        ray: as a Ray Serve deployment, on the cluster that RAY_ADDRESS names or on one of this machine's own.
        replicas: of the deployment; they share clients, budgets and ledger.
    """
    handler = logging.StreamHandler() if json_logs else RichHandler(console=Console(stderr=True), show_path=False)
    handler.setFormatter(JsonLines() if json_logs else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    trace()
    given = {"state": state, "database": database, "model": model, "upstream": upstream, "defenses": defense or None}
    settings = _settings(config, **given)
    if ray:
        from honeyguard.gateway.on_ray import serve_on_ray

        if tls_cert or tls_key:
            raise ParameterError("no --tls-cert and --tls-key with --ray", "some", "Put a proxy in front, which does TLS.")
        serve_on_ray(settings, folder, host=host, port=port, replicas=replicas)
        return
    launch.serve(launch.application(settings, folder), settings, host=host, port=port, certificate=tls_cert, key=tls_key)


def _settings(path: Path | None, **given: Any) -> Config:
    return dataclasses.replace(read(path), **{name: value for name, value in given.items() if value is not None})


clients = App(name="clients")


@clients.command
def add(name: str, *, budget: int | None = None, config: Settings = None, state: str | None = None, database: str | None = None) -> None:
    """Make a client and print its API key, this once.

    Args:
        name: of the client.
        budget: queries (images) in its lifetime; no limit if not given.
        config: the gateway's TOML file.
        state: the gateway's folder.
        database: the gateway's database.
    """
    settings = _settings(config, state=state, database=database)
    secret = registry.server_secret(Path(settings.state))
    print(registry.add(open_store(settings.url), secret, name, budget))


@clients.command
def revoke(name: str, *, config: Settings = None, state: str | None = None, database: str | None = None) -> None:
    """End a client's key at once, in every running gateway."""
    registry.revoke(open_store(_settings(config, state=state, database=database).url), name)
    console.print(f"{name}: revoked.")


@clients.command
def forgive(name: str, *, config: Settings = None, state: str | None = None, database: str | None = None) -> None:
    """Take back what the policy did to a client."""
    registry.forgive(open_store(_settings(config, state=state, database=database).url), name)
    console.print(f"{name}: answered as everybody.")


@clients.command(name="list")
def list_(*, config: Settings = None, state: str | None = None, database: str | None = None) -> None:
    """Show all clients: budget, spent queries, mode and risk."""
    table = Table("client", "id", "spent", "budget", "mode", "risk", "reason")
    with open_store(_settings(config, state=state, database=database).url).connect() as connection:
        for row in connection.execute(client_table.select().order_by(client_table.c.created)):
            budget = "—" if row.budget is None else f"{row.budget:,}"
            mode = "revoked" if row.revoked else row.mode
            table.add_row(row.name, row.id, f"{row.spent:,}", budget, mode, f"{row.risk:.2f}", row.reason)
    console.print(table)


ledger = App(name="ledger")


@ledger.command
def verify(*, config: Settings = None, state: str | None = None, database: str | None = None) -> None:
    """Follow the hash chain of the ledger from its origin to its head."""
    found = records.verify(open_store(_settings(config, state=state, database=database).url))
    console.print(f"{found.entries:,} entries, {found.images:,} images, unbroken. Head: {found.head}", soft_wrap=True)
    if found.unlogged:
        console.print(f"{found.unlogged:,} images were spent from budgets and are not in the ledger: refused after spending, or under way.")


@ledger.command
def replay(thresholds: Path, *, config: Settings = None, state: str | None = None, database: str | None = None) -> None:
    """Run kept queries (`ledger.images = true`) through other detectors: who would have raised an alarm, and when.

    Args:
        thresholds: what `honeyguard calibrate` wrote.
        config: the gateway's TOML file.
        state: the gateway's folder.
        database: the gateway's database.
    """
    engine = open_store(_settings(config, state=state, database=database).url)
    table = Table("client", "detector", "images until the alarm")
    for client, found in replayed(engine, Thresholds.load(thresholds)).items():
        for detector, sent in found.items() or {"—": None}.items():
            table.add_row(client, detector, "—" if sent is None else f"{sent:,}")
    console.print(table)


@ledger.command
def marks(folder: Path, *, output: Path, config: Settings = None, state: str | None = None, database: str | None = None) -> None:
    """Write all marks to a file for `honeyguard attribute`.

    Args:
        folder: the guarded model that was served.
        output: .npz file.
        config: the gateway's TOML file.
        state: the gateway's folder.
        database: the gateway's database.
    """
    engine = open_store(_settings(config, state=state, database=database).url)
    count = marks_table.export(engine, output, tuple(read_manifest(folder)["input"]["shape"]))
    console.print(f"{count:,} marks in {output}.")
