"""The same app as a Ray Serve deployment: replicas that share clients, budgets and ledger through the database."""

import asyncio
import logging
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI

from honeyguard.errors import MissingExtraError, ServeError
from honeyguard.gateway.config import Config
from honeyguard.gateway.launch import SWITCH, application, build, listen
from honeyguard.gateway.observability import trace

log = logging.getLogger(__name__)
NAME = "honeyguard"


def serve_on_ray(config: Config, folder: Path | None, *, host: str, port: int, replicas: int) -> None:
    """Answer until a signal comes, on the cluster that RAY_ADDRESS names, or on one of this machine's own.

    Every node needs `folder` and `config.state` at the same path, with the same secret in the latter, and the environment's password.

    Raises: MissingExtraError: no Ray. ServeError: the port is in use, or Ray can't start the replicas. Whatever `build` raises.
    """
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise MissingExtraError("the extra 'ray'", f"no Ray ({error})", "pip install 'honeyguard[serve,ray]'") from None
    asyncio.run(build(config, folder).close())  # what is missing or damaged stops the start here, with one clear line
    listen(host, port).close()
    settings, model = replace(config, state=str(Path(config.state).absolute())), folder and folder.absolute()

    def app() -> FastAPI:
        sys.setswitchinterval(SWITCH)
        trace()
        return application(settings, model)

    class Gateway:
        pass

    once = config.limits.concurrency
    deployment = serve.deployment(serve.ingress(app)(Gateway), name=NAME, num_replicas=replicas, max_ongoing_requests=once)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        serve.start(http_options={"host": host, "port": port})
        serve.run(deployment.bind(), name=NAME, route_prefix="/")
        log.info("serving %s on http://%s:%d with %d replicas", config.model, host, port, replicas)
        _until_a_signal()
    except RuntimeError as error:
        raise ServeError(f"{replicas} replicas on Ray", f"none ({str(error)[:200]})", "Look into Ray's logs.") from None
    finally:
        serve.shutdown()
        ray.shutdown()


def _until_a_signal() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
