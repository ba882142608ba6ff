"""The gateway over HTTP: FastAPI for routes and documentation, raw bodies and orjson for inference."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Path, Request, Response
from starlette.exceptions import HTTPException

from honeyguard.gateway.body import read_body
from honeyguard.gateway.clients import Client
from honeyguard.gateway.connections import UNDER_WAY
from honeyguard.gateway.dashboard import Sessions, dashboard
from honeyguard.gateway.documentation import METADATA, READY, SECURITY, TEXT, completed, infer_documentation
from honeyguard.gateway.protocol import RequestError, server_metadata
from honeyguard.gateway.service import Gateway
from honeyguard.wire import LENGTH

log = logging.getLogger(__name__)
Name = Annotated[str, Path(description="The model's name.")]
Version = Annotated[str, Path(description="The model's version.")]


def create_app(gateway: Gateway, sessions: Sessions | None = None) -> FastAPI:
    """The ASGI application; it closes the gateway when it ends. Without `sessions` there is no dashboard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.close()

    app = FastAPI(
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

    async def client_of(request: Request) -> Client:
        return await gateway.client(_key(request))

    async def admitted(request: Request) -> Client:
        client = await client_of(request)
        await gateway.admit(client)
        return client

    def known(model: str, version: str | None = None) -> None:
        if model != gateway.model.name or version not in {None, gateway.model.version}:
            got = f"{model[:80]!r}" + (f", version {version[:80]!r}" if version is not None else "")
            raise RequestError(404, f"expected the model {gateway.model.name!r}, version {gateway.model.version!r}; got {got}.")

    # First, and without FastAPI's own reading of the path: this is where the requests go.
    @app.post("/v2/models/{model}/infer", tags=["inference"], **infer_documentation("model"))
    async def infer_model(request: Request) -> Response:
        """Probabilities for images."""
        return await infer(request)

    @app.post("/v2/models/{model}/versions/{version}/infer", tags=["inference"], **infer_documentation("model", "version"))
    async def infer_version(request: Request) -> Response:
        """Probabilities for images, from a version of the model."""
        return await infer(request)

    async def infer(request: Request) -> Response:
        started, status, limits = time.perf_counter(), 500, gateway.config.limits
        try:
            client = await client_of(request)
            known(**request.path_params)
            body = None
            try:
                async with asyncio.timeout(limits.upload) as clock:
                    body = await read_body(request, limits.body)
                    clock.reschedule(asyncio.get_running_loop().time() + limits.seconds)
                    alone = len(request.scope.get("extensions", {}).get(UNDER_WAY, "")) == 1
                    content, headers = await gateway.infer(client, body, request.headers.get(LENGTH), alone=alone)
            except TimeoutError:
                if body is None:
                    raise RequestError(408, "expected the whole request in time; got a part of it.") from None
                raise RequestError(504, f"No answer within {limits.seconds:g} seconds.") from None
            status = 200
            return Response(content, headers=headers)
        except RequestError as error:
            status = error.status
            raise
        finally:
            gateway.metrics.requests[status].inc()
            gateway.metrics.seconds.observe(time.perf_counter() - started)

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
        known(model)
        return _json(gateway.model.metadata())

    @app.get("/v2/models/{model}/versions/{version}", tags=["metadata"], **protected)
    async def version_metadata(model: Name, version: Version) -> Response:
        """Inputs and outputs of a version of the model."""
        known(model, version)
        return _json(gateway.model.metadata())

    @app.get("/v2/models/{model}/ready", tags=["metadata"], **protected)
    async def model_ready(model: Name) -> Response:
        """Whether the model would answer."""
        known(model)
        return await _readiness()

    @app.get("/v2/models/{model}/versions/{version}/ready", tags=["metadata"], **protected)
    async def version_ready(model: Name, version: Version) -> Response:
        """Whether a version of the model would answer."""
        known(model, version)
        return await _readiness()

    if sessions is not None:
        app.include_router(dashboard(gateway, sessions))
    return app


def _key(request: Request) -> str | None:
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return request.headers.get("X-API-Key")
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def _refused(_: Request, error: Any) -> Response:
    response = _json({"error": error.text}, error.status)
    if error.wait is not None:
        response.headers["Retry-After"] = str(error.wait)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status in {408, 413}:
        response.headers["Connection"] = "close"  # what is left of the body is not read
    return response


async def _no_route(_: Request, error: Any) -> Response:
    text = {404: "expected a route of the Open Inference Protocol v2; got another.", 405: "expected another method for this route."}
    response = _json({"error": text.get(error.status_code, "The request can't be answered.")}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _broken(_: Request, error: Exception) -> Response:
    log.error("internal error: %s", type(error).__name__)
    return _json({"error": "Internal error; nothing was answered."}, 500)
