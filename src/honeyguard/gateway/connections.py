"""HTTP connections that neither wait for ever nor read without end: limits that uvicorn leaves to a proxy."""

import asyncio
from functools import partial
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNDER_WAY = "honeyguard.under_way"
"""Extension of the ASGI scope: the set of all requests that the server has read and not answered."""
REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class Connection(HttpToolsProtocol):
    """Closes a connection whose request doesn't arrive in time, and refuses headers that are too large.

    Args:
        header: bytes.  upload: seconds for a request, headers and body each.
    """

    def __init__(self, *arguments: Any, header: int, upload: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._largest, self._seconds = header, upload
        self._bytes = self._held = 0
        self._in_headers = True
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The parser shows a header once it is whole, so what it still holds is counted here.
        self._held = self._held + len(data) if self._in_headers else 0
        if self._held > self._largest and not self.transport.is_closing():
            self._bytes = self._held
            self.send_400_response("")

    def on_message_begin(self) -> None:
        self._bytes, self._in_headers = 0, True
        if self._deadline is None:
            self._arm()
        super().on_message_begin()
        self.scope["extensions"] = {UNDER_WAY: self.tasks}  # type: ignore[dict-item]

    def on_url(self, url: bytes) -> None:
        self._bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._bytes += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._bytes > self._largest:
            raise ValueError("headers too large")  # httptools hands it on as a parser's error
        self._in_headers = False
        self._disarm()
        self._arm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """The protocol's form of an error, for what never becomes a request."""
        if self._bytes > self._largest:
            self._refuse(431, f"expected at most {self._largest} bytes of headers; got more.")
        else:
            self._refuse(400, "expected HTTP; got something else.")

    def _refuse(self, status: int, text: str) -> None:
        body = orjson.dumps({"error": text})
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
        self.transport.write(head.encode() + b"\r\n\r\n" + body)
        self.transport.close()

    def _late(self) -> None:
        if self._in_headers or self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(408, "expected the whole request in time; got a part of it.")

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self._seconds, self._late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connection(header: int, upload: float) -> Any:
    """The protocol class for `uvicorn.Config(http=…)`, with its limits."""
    return partial(Connection, header=header, upload=upload)
