"""Inference as plain ASGI: where the requests go, a framework's layers would cost as much as keys, budgets and ledger together."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from honeyguard.gateway.body import read_body
from honeyguard.gateway.connections import UNDER_WAY
from honeyguard.gateway.protocol import RequestError
from honeyguard.gateway.service import Gateway
from honeyguard.wire import LENGTH

log = logging.getLogger(__name__)
JSON = {"Content-Type": "application/json"}
_LENGTH = LENGTH.lower().encode()


async def infer(gateway: Gateway, scope: Scope, receive: Receive, **named: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer about the model that the path has `named`."""
    started, status = time.perf_counter(), 500
    try:
        headers = dict(scope["headers"])
        client = await gateway.client(key_of(headers))
        gateway.model.check(**named)
        alone = len(scope.get("extensions", {}).get(UNDER_WAY, "")) == 1
        limits = gateway.config.limits
        body = await read_body(headers, receive, limits.body)
        length = headers[_LENGTH].decode("latin-1") if _LENGTH in headers else None
        try:
            async with asyncio.timeout(limits.seconds):
                content, told = await gateway.infer(client, body, length, alone=alone)
        except TimeoutError:
            raise RequestError(504, f"No answer within {limits.seconds:g} seconds.") from None
        status = 200
    except RequestError as error:
        status, told, content = refusal(error)
    except Exception as error:  # whatever it is, nothing of it is shown
        log.error("internal error: %s", type(error).__name__)
        status, told, content = refusal(RequestError(500, "Internal error; nothing was answered."))
    finally:
        gateway.metrics.requests[status].inc()
        gateway.metrics.seconds.observe(time.perf_counter() - started)
    return status, told, content


async def serve_infer(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """`infer` about the model that is served, as an ASGI application."""
    status, told, content = await infer(gateway, scope, receive)
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


def key_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The API key in a request's headers."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        return headers.get(b"x-api-key", b"").decode("latin-1")
    scheme, _, key = authorization.decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def refusal(error: RequestError) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body that say what was wrong."""
    headers: dict[str, Any] = dict(JSON)
    if error.wait is not None:
        headers["Retry-After"] = str(error.wait)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 413:
        headers["Connection"] = "close"  # what is left of the body is not read
    return error.status, headers, orjson.dumps({"error": error.text})
