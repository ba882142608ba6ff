"""A live HTTP endpoint as an oracle."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import Self
from urllib.parse import quote

import torch
from torch import Tensor

from honeyguard.connection import Connection
from honeyguard.contract import check_images, check_range
from honeyguard.errors import AnswerError, HoneyguardError, OracleError
from honeyguard.oip import BROKEN, Signature, read_answers, read_signature, write_request
from honeyguard.wire import BINARY, LENGTH


class Remote:
    """An endpoint of the Open Inference Protocol v2: images (N, C, H, W) -> probabilities (N, K), both checked.

    Images go out in requests of `batch`, up to `concurrency` at a time; answers come back in the order of the images. A request is
    sent again after 429, 5xx, a time-out or a lost connection. In the last two the endpoint may have answered, and charged, unseen:
    `sent` counts the images of all requests, retries too, which is the most that the endpoint can have counted.

    Args:
        url: root of the endpoint, `https://host:port`.
        model: its name there, or `name/versions/version`.
        api_key: sent as `Authorization: Bearer …`, or as it is in another `key_header`; never shown.
        binary: whether to send binary tensors; None asks the endpoint whether it takes them.
        output: name of the output to read, where the model has several.
        batch: images a request.
        concurrency: requests at a time.
        timeout: seconds for one try of a request.
        retries: times that a request is sent again.
        backoff: seconds before the first retry, doubled before each other; the endpoint's own Retry-After comes first.
        longest_wait: seconds; an endpoint that asks for more fails at once.
    Raises: ImageError: before anything is sent. OracleError: the endpoint refuses, fails or can't be reached.
        AnswerError: it answers with something else than distributions of always the same K. ParameterError.
    Example: `extract(Remote("https://api.example.com", "digits", api_key=key), pool, substitute, Extraction(budget=500))`
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        key_header: str = "Authorization",
        binary: bool | None = None,
        output: str | None = None,
        batch: int = 64,
        concurrency: int = 4,
        timeout: float = 30.0,
        retries: int = 5,
        backoff: float = 0.5,
        longest_wait: float = 120.0,
    ) -> None:
        for name, value, low in (("batch", batch, 1), ("concurrency", concurrency, 1), ("timeout", timeout, 1e-3), ("retries", retries, 0)):
            check_range(name, value, low, float("inf"))
        self.model, self.output, self.batch = model, output, batch
        self.classes: int | None = None
        self._binary, self._lock = binary, threading.Lock()
        self._connection = Connection(
            url,
            api_key=api_key,
            key_header=key_header,
            timeout=timeout,
            retries=retries,
            backoff=backoff,
            longest_wait=longest_wait,
            connections=concurrency,
        )
        self._workers = ThreadPoolExecutor(concurrency)

    def __repr__(self) -> str:
        return f"Remote({self._connection.url!r}, {self.model!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections and whatever waits for its next try."""
        self._connection.abandon()
        self._workers.shutdown(cancel_futures=True)
        self._connection.close()

    @property
    def sent(self) -> int:
        return self._connection.sent

    @cached_property
    def signature(self) -> Signature:
        """What the endpoint's metadata say of the model; asked once."""
        signature = read_signature(self._connection.send("GET", self._path)[0], self.output)
        self.classes = signature.classes
        return signature

    def __call__(self, images: Tensor) -> Tensor:
        parts = dict(self.stream(images))
        return torch.cat([parts[start] for start in sorted(parts)]) if parts else torch.empty(0, self.classes or 0)

    def stream(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Answers as they come, each with the row of its first image.

        After a failure nothing more is sent; the answers to what was under way are still given, and then the error is raised.
        """
        check_images(images, self.signature.shape)
        size, binary, stop = min(self.batch, self.signature.batch or self.batch), self._takes_binary, threading.Event()
        under_way = {
            self._workers.submit(self._ask, images[start : start + size], binary, stop): start for start in range(0, len(images), size)
        }
        failure: HoneyguardError | None = None
        try:
            for future in as_completed(under_way):
                try:
                    answers = future.result()
                except CancelledError:
                    continue
                except HoneyguardError as error:
                    failure = failure or error
                else:
                    yield under_way[future], answers
        finally:
            stop.set()
        if failure:
            raise failure

    def _ask(self, images: Tensor, binary: bool, stop: threading.Event) -> Tensor:
        if stop.is_set():
            raise CancelledError
        try:
            body, headers = write_request(self.signature, images, binary=binary)
            content, said = self._connection.send("POST", f"{self._path}/infer", body, headers, count=len(images))
            answers = read_answers(self.signature, content, said.get(LENGTH), len(images))
            with self._lock:
                self.classes = self.classes or answers.shape[1]
            if answers.shape[1] != self.classes:
                got = f"{answers.shape[1]} from {self!r}"
                raise AnswerError(f"{self.classes} classes, as before", got, "Its model was changed: start a new theft.")
        except HoneyguardError:
            stop.set()
            raise
        return answers

    @property
    def _path(self) -> str:
        return f"/v2/models/{quote(self.model)}"

    @cached_property
    def _takes_binary(self) -> bool:
        if self._binary is not None:
            return self._binary
        try:
            return BINARY in json.loads(self._connection.send("GET", "/v2")[0])["extensions"]
        except (OracleError, *BROKEN):  # JSON is what every endpoint takes
            return False
