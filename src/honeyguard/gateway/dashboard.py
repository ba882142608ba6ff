"""The dashboard: traffic, clients by risk, budgets, alarms, the model; server-rendered, behind a login of its own."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.responses import RedirectResponse

from honeyguard.errors import ParameterError
from honeyguard.gateway import figures
from honeyguard.gateway.body import read_body
from honeyguard.gateway.protocol import RequestError
from honeyguard.gateway.service import Gateway

PASSWORD = "HONEYGUARD_DASHBOARD_PASSWORD"  # noqa: S105 - the variable's name
COOKIE, HOURS, LEAST = "honeyguard_session", 8, 12
ATTEMPTS = parse("10/minute")
POLICY = (
    "default-src 'none'; style-src 'nonce-{0}'; script-src 'nonce-{0}'; connect-src 'self'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
PAGES = Environment(loader=PackageLoader("honeyguard.gateway"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
PAGES.filters |= {"moment": figures.moment, "count": lambda n: f"{n:,}", "share": lambda x: f"{x:.1%}"}


class Sessions:
    """Signed cookies: whoever gave the password is known for some hours. A new password ends all of them.

    Raises: ParameterError: a password that is too short.
    """

    def __init__(self, password: str, secret: bytes) -> None:
        if len(password) < LEAST:
            raise ParameterError(f"{PASSWORD} of at least {LEAST} characters", f"{len(password)}", "Choose a longer one.")
        self._secret = secret
        self._password = self._hashed(password)
        self._attempts = FixedWindowRateLimiter(MemoryStorage())

    def right(self, password: str) -> bool:
        """Raises: RequestError: too many attempts."""
        if not self._attempts.hit(ATTEMPTS, "login"):
            raise RequestError(429, "Too many attempts. Try again in a minute.", wait=60)
        return self.known(password)

    def known(self, password: str) -> bool:
        return hmac.compare_digest(self._hashed(password), self._password)

    def start(self) -> str:
        end = str(int(time.time()) + 3600 * HOURS)
        return f"{end}.{self._hashed(end + self._password)}"

    def open(self, cookie: str | None) -> bool:
        end, _, signature = (cookie or "").partition(".")
        signed = hmac.compare_digest(self._hashed(end + self._password).encode(), signature.encode())
        return signed and end.isdecimal() and int(end) > time.time()

    def _hashed(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=self._secret, person=b"dashboard", digest_size=32).hexdigest()


def dashboard(gateway: Gateway, sessions: Sessions) -> APIRouter:
    """Routes under /dashboard, and /metrics for whoever gives the password as a bearer token."""
    router = APIRouter(include_in_schema=False)

    async def page(request: Request, content: Callable[[], dict[str, Any] | None], name: str) -> Response:
        if not sessions.open(request.cookies.get(COOKIE)):
            return _secured(RedirectResponse("/dashboard/login", 303))
        found = await asyncio.to_thread(content)
        if found is None:
            raise RequestError(404, "expected a client's id; got another.")
        return _rendered(name, part="main" if "live" in request.query_params else None, **found)

    @router.get("/dashboard")
    async def overview(request: Request) -> Response:
        return await page(request, lambda: figures.overview(gateway), "overview.html.j2")

    @router.get("/dashboard/clients/{client}")
    async def client(request: Request, client: str) -> Response:
        return await page(request, lambda: figures.client(gateway, client), "client.html.j2")

    @router.get("/dashboard/login")
    async def form() -> Response:
        return _rendered("login.html.j2", wrong=False)

    @router.post("/dashboard/login")
    async def login(request: Request) -> Response:
        given = parse_qs(
            (await read_body(dict(request.scope["headers"]), request.receive, 4096)).decode(errors="replace"), max_num_fields=4
        ).get("password", [""])[0]
        if not sessions.right(given):
            return _rendered("login.html.j2", 401, wrong=True)
        response = RedirectResponse("/dashboard", 303)
        https = request.url.scheme == "https"
        response.set_cookie(COOKIE, sessions.start(), 3600 * HOURS, path="/dashboard", httponly=True, samesite="strict", secure=https)
        return _secured(response)

    @router.post("/dashboard/logout")
    async def logout() -> Response:
        response = RedirectResponse("/dashboard/login", 303)
        response.delete_cookie(COOKIE, path="/dashboard")
        return _secured(response)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not sessions.known(given):
            raise RequestError(401, "expected the dashboard's password as a bearer token; got none.")
        gateway.metrics.under_way.set(gateway.busy)
        return Response(gateway.metrics.page(), media_type="text/plain; version=0.0.4")

    return router


def _rendered(name: str, status: int = 200, part: str | None = None, **content: Any) -> Response:
    """A page, or the one element of it that a page in a browser renews."""
    nonce = secrets.token_urlsafe(16)
    page = PAGES.get_template(name).render(nonce=nonce, **content)
    if part is not None:
        page = page[page.index(f"<{part}>") : page.index(f"</{part}>") + len(f"</{part}>")]
    response = Response(page, status, media_type="text/html")
    response.headers["Content-Security-Policy"] = POLICY.format(nonce)
    return _secured(response)


def _secured(response: Response) -> Response:
    response.headers.update({"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"})
    return response
