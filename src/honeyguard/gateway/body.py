"""A request's body, read up to a limit."""

from fastapi import Request

from honeyguard.gateway.protocol import RequestError


async def read_body(request: Request, largest: int) -> bytes:
    """The request's body. Raises: RequestError: 413 too large, 415 compressed, 400 for a client that left."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise RequestError(415, "expected a body as it is; got a compressed one. Send it uncompressed.")
    announced = request.headers.get("Content-Length", "")
    parts, size, more = list[bytes](), int(announced) if announced.isdecimal() else 0, True
    while more and size <= largest:
        message = await request.receive()
        if message["type"] != "http.request":
            raise RequestError(400, "expected a whole request; got a part of it.")
        parts.append(message.get("body", b""))
        size, more = sum(map(len, parts)), message.get("more_body", False)
    if size > largest:
        raise RequestError(413, f"expected a body of at most {largest} bytes; got more. Send fewer images at a time.")
    return parts[0] if len(parts) == 1 else b"".join(parts)
