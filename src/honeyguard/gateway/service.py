"""The way of a query: whose is it, is it well-formed, may it be asked, what is answered, what is kept."""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from honeyguard.gateway.backend import Answers, Backend, BrokenModelError, checked
from honeyguard.gateway.batching import Batcher
from honeyguard.gateway.budgets import Budgets, Wish
from honeyguard.gateway.clients import Client, Keys
from honeyguard.gateway.config import Config
from honeyguard.gateway.ledger import Entry
from honeyguard.gateway.metrics import Metrics
from honeyguard.gateway.protocol import Array, Model, RequestError, read_query, write_answers
from honeyguard.gateway.rates import Rates
from honeyguard.gateway.recorder import Recorder, Seen

log = logging.getLogger(__name__)
NO_KEY = "expected a valid API key, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'; got none."
BROKEN = "The model gave no valid answer; nothing of it is shown."
Perturbation = Callable[[Array], Array]
Marking = Callable[[str, Array, Array], tuple[Array, list[int]]]


class Gateway:
    """Everything but HTTP. What isn't certain is refused: no answer leaves without a key, a budget, a check and a line in the journal.

    Args:
        perturb: what the policy's step `perturb` does to probabilities (N, K).
        mark: (client, images, answers) -> answers with DAWN's marks, and the rows that carry one.
    """

    def __init__(
        self,
        config: Config,
        backend: Backend,
        engine: Engine,
        keys: Keys,
        recorder: Recorder,
        metrics: Metrics,
        *,
        rates: Rates | None = None,
        perturb: Perturbation | None = None,
        mark: Marking | None = None,
    ) -> None:
        self.config, self.backend, self.engine, self.recorder, self.metrics = config, backend, engine, recorder, metrics
        self.model = Model(name=config.model, version=config.version, shape=backend.shape, classes=backend.classes)
        self._keys, self._rates, self._perturb, self._mark = keys, rates, perturb, mark
        self._budgets = Budgets(engine)
        # SQLite answers faster than a thread wakes; a database beyond the network may hang, and must not hang the loop.
        self._spend: Batcher[Wish, str] = Batcher(self._budgets, largest=256, inline=0.002 if engine.dialect.name == "sqlite" else 0)
        self._under_way: Counter[str] = Counter()
        self.busy = 0

    async def client(self, key: str | None) -> Client:
        """Raises: RequestError: 401 for a key of nobody."""
        if not key:
            raise RequestError(401, NO_KEY)
        try:
            found = self._keys(key) if self._keys.known(key) else await asyncio.to_thread(self._keys, key)
        except SQLAlchemyError as error:
            log.error("keys: %s", type(error).__name__)
            raise RequestError(503, "The keys can't be reached; nothing was answered. Try again later.", wait=1) from None
        if found is None:
            raise RequestError(401, NO_KEY.replace("got none", "got another"))
        return found

    async def admit(self, client: Client, images: int = 0, *, alone: bool = False) -> str:
        """Spend `images` of the client's budget; its mode. Raises: RequestError: revoked, blocked or spent."""
        return await self._spend(Wish(client.id, images), alone=alone)

    async def infer(self, client: Client, body: bytes, length: str | None, *, alone: bool = False) -> tuple[bytes, dict[str, str]]:
        """The body and the headers of an answer; `alone` says that no other request is under way.

        Raises: RequestError, with a text that may be shown.
        """
        limits = self.config.limits
        if self.busy >= limits.concurrency or self._under_way[client.id] >= limits.per_client:
            raise RequestError(503 if self.busy >= limits.concurrency else 429, "Too many requests at a time. Try again later.", wait=1)
        self.busy += 1
        self._under_way[client.id] += 1
        try:
            return await self._answer(client, body, length, alone)
        finally:
            self.busy -= 1
            self._under_way[client.id] -= 1
            if not self._under_way[client.id]:
                del self._under_way[client.id]

    async def _answer(self, client: Client, body: bytes, length: str | None, alone: bool) -> tuple[bytes, dict[str, str]]:
        query = read_query(body, length, self.model, self.config.limits.batch)
        count = len(query.images)
        if self.recorder.full:
            raise RequestError(503, "The ledger can't be written; nothing was answered. Try again later.", wait=5)
        if self._rates:
            await self._rates(client.id, count)
        mode = await self.admit(client, count, alone=alone)
        try:
            answers = await self.backend(query.images, alone=alone)
            shown, marked = self._shown(client, mode, query.images, answers)
        except RequestError:
            raise
        except Exception as error:  # a model or defense that breaks shows nothing, not even how
            log.error("model: %s", error if isinstance(error, BrokenModelError) else type(error).__name__)
            raise RequestError(500, BROKEN) from None
        self._note(client, mode, query.images, answers, shown, marked)
        self.metrics.images.inc(count)
        if mode == "slow":
            await asyncio.sleep(self.config.policy.delay)
        return write_answers(self.model, query, shown)

    def _shown(self, client: Client, mode: str, images: Array, answers: Answers) -> tuple[Array, list[int]]:
        """What this client gets to see, and the rows that carry a mark."""
        rows, classes = len(images), len(self.model.classes)
        shown, marked = checked(answers.probabilities, rows, classes), list[int]()
        if mode == "perturb":
            if self._perturb is None:
                raise BrokenModelError("no perturbation is configured")
            shown = checked(self._perturb(shown), rows, classes)
        if self._mark is not None:
            shown, marked = self._mark(client.id, images, shown)
            self.metrics.marked.inc(len(marked))
            shown = checked(shown, rows, classes)
        if mode == "label":
            shown = np.eye(classes, dtype=np.float32)[shown.argmax(1)]
        return shown, marked

    def _note(self, client: Client, mode: str, images: Array, answers: Answers, shown: Array, marked: list[int]) -> None:
        facts = {"mode": mode, "digests": [digest(image) for image in images]} | ({"marked": marked} if marked else {})
        entry = Entry(kind="query", client=client.id, images=len(images), facts=facts, time=time.time())
        try:
            told = shown[marked].argmax(1).tolist() if marked else []
            self.recorder.add(entry, Seen(images, answers.features, answers.probabilities, marked, told))
        except OSError as error:
            log.error("journal: %s", error.strerror or error)
            raise RequestError(503, "The journal can't be written; nothing was answered. Try again later.", wait=5) from None

    async def ready(self) -> bool:
        """Whether queries would be answered."""
        try:
            await self._spend(Wish("", 0))
        except RequestError as error:
            if error.status != 403:  # nobody has that id
                return False
        return not self.recorder.full and await self.backend.ready()

    async def close(self) -> None:
        await self.backend.close()
        self._spend.close()
        await asyncio.to_thread(self.recorder.close)
        self._budgets.close()
        self.engine.dispose()


def digest(image: Array) -> str:
    """What the ledger keeps of an image (C, H, W): SHA-256 over its bytes, of which the first 128 bits."""
    return hashlib.sha256(image.tobytes()).hexdigest()[:32]
