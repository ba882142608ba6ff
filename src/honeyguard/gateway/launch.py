"""From a configuration to a running gateway."""

import gc
import logging
import os
import secrets
import socket
import ssl
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from honeyguard.detection.apart import Apart
from honeyguard.detection.thresholds import Thresholds
from honeyguard.errors import ParameterError, ServeError
from honeyguard.gateway import clients
from honeyguard.gateway.app import create_app
from honeyguard.gateway.backend import Backend, open_folder
from honeyguard.gateway.config import Config
from honeyguard.gateway.connections import connection
from honeyguard.gateway.dashboard import PASSWORD, Sessions
from honeyguard.gateway.marks import marks_of
from honeyguard.gateway.metrics import Metrics
from honeyguard.gateway.policy import Suspicion
from honeyguard.gateway.rates import Rates
from honeyguard.gateway.recorder import Recorder, nobody
from honeyguard.gateway.replay import packed
from honeyguard.gateway.service import Gateway, Perturbation
from honeyguard.gateway.store import open_store

log = logging.getLogger(__name__)
SWITCH = 5e-5
"""Seconds after which a thread that computes makes room: with Python's own 5 ms, the ledger's thread would hold up every answer."""


def build(config: Config, folder: Path | None = None) -> Gateway:
    """Everything but HTTP, opened and checked.

    Args:
        folder: a guarded folder; None stands in front of `config.upstream`.
    Raises: ArtifactError, ModelError, StoreError, OracleError, ParameterError: whatever is missing or can't be reached.
    """
    policy, metrics = config.policy, Metrics()
    rates = Rates(config.limits.rate, config.limits.rate_store) if config.limits.rate else None
    perturb = _perturbation(policy.perturbation) if "perturb" in policy.ladder else None
    watcher = None
    if policy.thresholds:
        thresholds = Thresholds.load(Path(policy.thresholds))
        watcher = Suspicion(thresholds, policy, metrics, Apart(thresholds, policy.clients))
    backend = _backend(config, folder)
    if watcher is not None:
        watcher.check(backend.shape, len(backend.classes), backend.features)
    engine = open_store(config.url)
    state = Path(config.state)
    secret = clients.server_secret(state)
    recorder = Recorder(
        engine,
        state / "journal",
        secrets.token_hex(6),
        metrics,
        watcher=watcher or nobody,
        keep=packed if config.ledger.images else None,
        last=watcher.close if watcher else lambda: None,
        seconds=config.ledger.seconds,
        backlog=config.ledger.backlog,
    )
    return Gateway(
        config,
        backend,
        engine,
        clients.Keys(engine, secret),
        recorder,
        metrics,
        rates=rates,
        perturb=perturb,
        mark=marks_of(secret, config.marks.share).mark if config.marks.share else None,
    )


def _perturbation(text: str) -> Perturbation:
    from honeyguard.gateway.outputs import chain  # the output defenses are torch's

    return chain([text])


def _backend(config: Config, folder: Path | None) -> Backend:
    if folder is not None and config.upstream is None:
        return open_folder(folder, config.threads)
    if folder is None and config.upstream is not None:
        from honeyguard.gateway.upstream import Upstream  # reads answers with torch

        return Upstream(config.upstream, config)
    raise ParameterError("a guarded folder or --upstream", "both" if folder else "neither", "Name one of them.")


def serve(app: FastAPI, config: Config, *, host: str, port: int, certificate: Path | None = None, key: Path | None = None) -> None:
    """Answer until a signal comes. Raises: ServeError: the port is in use, or TLS can't be set up."""
    sys.setswitchinterval(SWITCH)
    gc.freeze()  # what is there stays: looking through it again and again would hold up answers for milliseconds
    server_config(app, config, certificate, key)
    listening = listen(host, port)
    log.info("serving %s on %s://%s:%d", config.model, "https" if certificate else "http", *listening.getsockname()[:2])
    uvicorn.Server(server_config(app, config, certificate, key)).run(sockets=[listening])


def server_config(app: FastAPI, config: Config, certificate: Path | None = None, key: Path | None = None) -> uvicorn.Config:
    done = uvicorn.Config(
        app,
        http=connection(config.limits.header, config.limits.upload),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(config.limits.seconds) + 1,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        done.load()
    except (OSError, ssl.SSLError) as error:
        raise ServeError("a certificate and its key", f"none ({type(error).__name__})", "Check --tls-cert and --tls-key.") from None
    return done


def listen(host: str, port: int) -> socket.socket:
    """Raises: ServeError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ServeError("a free port", f"{host}:{port} ({error.strerror})", "Choose another --port or --host.") from None


def application(config: Config, folder: Path | None = None) -> FastAPI:
    """The ASGI application; with a dashboard where the environment has a password for it."""
    sessions = None
    if password := os.environ.get(PASSWORD):
        sessions = Sessions(password, clients.server_secret(Path(config.state)))
    return create_app(build(config, folder), sessions)
