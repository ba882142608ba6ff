"""A request's body, read up to a limit."""

from collections.abc import Mapping

from starlette.types import Receive

from honeyguard.gateway.protocol import RequestError


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, largest: int) -> bytes:
    """A request's body. Raises: RequestError: 413 too large, 415 compressed, 400 for a client that left."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise RequestError(415, "expected a body as it is; got a compressed one. Send it uncompressed.")
    announced = headers.get(b"content-length", b"")
    parts, size, more = list[bytes](), int(announced) if announced.isdigit() else 0, True
    while more and size <= largest:
        message = await receive()
        if message["type"] != "http.request":
            raise RequestError(400, "expected a whole request; got a part of it.")
        parts.append(message.get("body", b""))
        size, more = sum(map(len, parts)), message.get("more_body", False)
    if size > largest:
        raise RequestError(413, f"expected a body of at most {largest} bytes; got more. Send fewer images at a time.")
    return parts[0] if len(parts) == 1 else b"".join(parts)
