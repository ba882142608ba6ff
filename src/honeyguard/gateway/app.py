"""The gateway over HTTP: FastAPI for routes and documentation, plain ASGI for inference."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Path, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from honeyguard.gateway.clients import Client
from honeyguard.gateway.dashboard import Sessions, dashboard
from honeyguard.gateway.documentation import METADATA, READY, SECURITY, TEXT, completed, infer_documentation
from honeyguard.gateway.inference import infer, key_of, refusal, serve_infer
from honeyguard.gateway.observability import ENDPOINT
from honeyguard.gateway.protocol import RequestError, server_metadata
from honeyguard.gateway.service import Gateway

log = logging.getLogger(__name__)
Name = Annotated[str, Path(description="The model's name.")]
Version = Annotated[str, Path(description="The model's version.")]


def create_app(gateway: Gateway, sessions: Sessions | None = None) -> FastAPI:
    """The ASGI application; it closes the gateway when it ends. Without `sessions` there is no dashboard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.close()

    app = _App(
        gateway,
        title="Honeyguard",
        description=TEXT,
        version=version("honeyguard"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _broken)

    async def admitted(request: Request) -> Client:
        client = await gateway.client(key_of(dict(request.scope["headers"])))
        await gateway.admit(client)
        return client

    @app.post("/v2/models/{model}/infer", tags=["inference"], **infer_documentation("model"))
    async def infer_model(request: Request) -> Response:
        """Probabilities for images."""
        return _response(*await infer(gateway, request.scope, request.receive, **request.path_params))

    @app.post("/v2/models/{model}/versions/{version}/infer", tags=["inference"], **infer_documentation("model", "version"))
    async def infer_version(request: Request) -> Response:
        """Probabilities for images, from a version of the model."""
        return _response(*await infer(gateway, request.scope, request.receive, **request.path_params))

    @app.get("/v2/health/live", tags=["health"], responses=READY)
    async def live() -> Response:
        """Whether the server runs."""
        return _json({"live": True})

    @app.get("/v2/health/ready", tags=["health"], responses=READY)
    async def ready() -> Response:
        """Whether queries would be answered."""
        return await _readiness()

    async def _readiness() -> Response:
        good = await gateway.ready()
        return _json({"ready": good}, 200 if good else 503)

    protected: dict[str, Any] = {"dependencies": [Depends(admitted)], "responses": METADATA, "openapi_extra": SECURITY}

    @app.get("/v2", tags=["metadata"], **protected)
    async def server() -> Response:
        """Name, version and extensions of the server."""
        return _json(server_metadata(app.version))

    @app.get("/openapi.json", tags=["metadata"], **protected)
    async def openapi() -> Response:
        """This document."""
        return _json(completed(app.openapi(), gateway.model))

    @app.get("/v2/models/{model}", tags=["metadata"], **protected)
    async def model_metadata(model: Name) -> Response:
        """Inputs and outputs of the model."""
        gateway.model.check(model)
        return _json(gateway.model.metadata())

    @app.get("/v2/models/{model}/versions/{version}", tags=["metadata"], **protected)
    async def version_metadata(model: Name, version: Version) -> Response:
        """Inputs and outputs of a version of the model."""
        gateway.model.check(model, version)
        return _json(gateway.model.metadata())

    @app.get("/v2/models/{model}/ready", tags=["metadata"], **protected)
    async def model_ready(model: Name) -> Response:
        """Whether the model would answer."""
        gateway.model.check(model)
        return await _readiness()

    @app.get("/v2/models/{model}/versions/{version}/ready", tags=["metadata"], **protected)
    async def version_ready(model: Name, version: Version) -> Response:
        """Whether a version of the model would answer."""
        gateway.model.check(model, version)
        return await _readiness()

    if sessions is not None:
        app.include_router(dashboard(gateway, sessions))
    return app


class _App(FastAPI):
    """FastAPI, with a way past it for inference on the model that is served."""

    def __init__(self, gateway: Gateway, **arguments: Any) -> None:
        super().__init__(**arguments)
        name, version = gateway.model.name, gateway.model.version
        # Where requests are traced, FastAPI makes the spans.
        short = () if os.environ.get(ENDPOINT) else (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/{version}/infer")
        self._gateway, self._short = gateway, frozenset(short)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in self._short and scope["method"] == "POST":
            await serve_infer(self._gateway, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _response(status: int, headers: dict[str, str], content: bytes) -> Response:
    return Response(content, status, headers)


async def _refused(_: Request, error: Any) -> Response:
    return _response(*refusal(error))


async def _no_route(_: Request, error: Any) -> Response:
    text = {404: "expected a route of the Open Inference Protocol v2; got another.", 405: "expected another method for this route."}
    response = _json({"error": text.get(error.status_code, "The request can't be answered.")}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _broken(_: Request, error: Exception) -> Response:
    log.error("internal error: %s", type(error).__name__)
    return _json({"error": "Internal error; nothing was answered."}, 500)
