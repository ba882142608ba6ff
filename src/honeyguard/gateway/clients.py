"""Clients and their API keys. A key is shown once; what is stored is its keyed hash."""

import hashlib
import hmac
import os
import re
import secrets
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from honeyguard.errors import ClientError, OutputError, ParameterError
from honeyguard.gateway.store import clients

KEY = re.compile(r"hg_([0-9a-f]{12})_([A-Za-z0-9_-]{32})")
NAME = re.compile(r"[\w.@ -]{1,64}")
NOBODY = "0" * 64
REMEMBERED = 10_000


@dataclass(frozen=True)
class Client:
    """Who asks: `id` is the public part of the key."""

    id: str
    name: str


def server_secret(state: Path) -> bytes:
    """The secret that keys all hashes, in `state`; made once. Replicas that share a database share this file too.

    Raises: OutputError: it can't be read or written.
    """
    path = state / "secret"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(path, "x", opener=partial(os.open, mode=0o600)) as file:
                file.write(secrets.token_hex(32) + "\n")
        except FileExistsError:
            pass
        secret = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise OutputError("the server's secret", f"none at {path} ({type(error).__name__})", "Restore it, or name another state.") from None
    if len(secret) != 32:
        raise OutputError("a secret of 32 bytes", f"{len(secret)} at {path}", "Restore it: without it no key is valid.")
    return secret


def add(engine: Engine, secret: bytes, name: str, budget: int | None = None) -> str:
    """A new client's API key, shown this once.

    Args:
        budget: queries (images) in the client's lifetime; None for no limit.
    Raises: ClientError: a name that is taken. ParameterError.
    """
    if not NAME.fullmatch(name):
        raise ParameterError("a name of 1 to 64 letters, digits, spaces, . _ @ -", repr(name[:80]), "Choose another.")
    if budget is not None and not 0 < budget < 1 << 62:
        raise ParameterError("a budget above 0", f"{budget}", "Leave it out for no limit.")
    client = secrets.token_hex(6)
    key = f"hg_{client}_{secrets.token_urlsafe(24)}"
    row = {"id": client, "name": name, "key_hash": hashed(secret, key), "budget": budget, "created": time.time()}
    try:
        with engine.begin() as connection:
            connection.execute(insert(clients).values(row))
    except IntegrityError:
        raise ClientError("a new client's name", f"{name!r}, which is taken", "Choose another; a revoked client keeps its name.") from None
    return key


def revoke(engine: Engine, name: str) -> None:
    """End a client's key, in every running gateway at once. Raises: ClientError."""
    _change(engine, name, revoked=time.time())


def forgive(engine: Engine, name: str) -> None:
    """Take back what the policy did to a client. Raises: ClientError."""
    _change(engine, name, mode="normal", step=0, risk=0.0, reason=None)


def _change(engine: Engine, name: str, **values: object) -> None:
    with engine.begin() as connection:
        if not connection.execute(update(clients).where(clients.c.name == name).values(**values)).rowcount:
            raise ClientError("the name of a client", repr(name), "See them all: honeyguard clients list.")


def hashed(secret: bytes, key: str) -> str:
    return hashlib.blake2b(key.encode(), key=secret, digest_size=32).hexdigest()


class Keys:
    """Whose key it is. Known clients are remembered; whether a key was revoked is the budget's question, asked each time."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine, self._secret = engine, secret
        self._known: dict[str, tuple[Client, str]] = {}

    def known(self, key: str) -> bool:
        """Whether the key's owner can be told without asking the database."""
        return key[3:15] in self._known or not KEY.fullmatch(key)

    def __call__(self, key: str) -> Client | None:
        """The key's client; None for anybody else, in the same time wherever the keys differ."""
        match = KEY.fullmatch(key)
        client, expected = self._client(match[1]) if match else (None, NOBODY)
        return client if hmac.compare_digest(hashed(self._secret, key), expected) else None

    def _client(self, name: str) -> tuple[Client | None, str]:
        if found := self._known.get(name):
            return found
        with self._engine.connect() as connection:
            row = connection.execute(select(clients.c.id, clients.c.name, clients.c.key_hash).where(clients.c.id == name)).first()
        if row is None:
            return None, NOBODY
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[name] = Client(row.id, row.name), row.key_hash
        return self._known[name]
