"""A server that is already there, behind the gateway: Triton, KServe, MLServer or whatever speaks the Open Inference Protocol v2."""

import asyncio
import json
import logging
import os
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import torch

from honeyguard.errors import AnswerError, HoneyguardError, OracleError, ParameterError
from honeyguard.gateway.backend import Answers
from honeyguard.gateway.config import Config
from honeyguard.gateway.outputs import chain
from honeyguard.gateway.protocol import Array, RequestError
from honeyguard.oip import BROKEN, Signature, read_answers, read_signature, write_request
from honeyguard.wire import BINARY, LENGTH

log = logging.getLogger(__name__)
KEY = "HONEYGUARD_UPSTREAM_KEY"


class Upstream:
    """Asks upstream, defends what comes back, and hands on nothing else: neither answers nor texts nor headers of its own.

    Args:
        url: root of the server.
        config: `upstream_model` and `defenses` of it; the environment's HONEYGUARD_UPSTREAM_KEY is sent as a bearer token.
    Raises: OracleError: upstream can't be reached, or its model is no classifier of images. ParameterError.
    """

    def __init__(self, url: str, config: Config) -> None:
        self._defend, self.defenses = chain(config.defenses), config.defenses
        self.figures: dict[str, Any] = {}
        self.features: int | None = None
        self._path = f"/v2/models/{quote(config.upstream_model or config.model)}"
        headers = {"Authorization": f"Bearer {os.environ[KEY]}"} if KEY in os.environ else {}
        timeout = httpx2.Timeout(config.limits.seconds, connect=min(3.0, config.limits.seconds))
        limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
        try:
            with httpx2.Client(base_url=url, headers=headers, timeout=timeout) as client:
                self._signature = read_signature(_good(client.get(self._path)))
                self._binary = _speaks_binary(client)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise OracleError("an upstream server", f"none ({type(error).__name__})", "Start it first, or mend --upstream.") from None
        self.shape, self.classes = _contract(self._signature)
        self._client = httpx2.AsyncClient(base_url=url, headers=headers, timeout=timeout, limits=limits)

    async def __call__(self, images: Array, *, alone: bool = False) -> Answers:  # noqa: ARG002 - nothing is batched here
        size = self._signature.batch or len(images)
        parts = await asyncio.gather(*(self._ask(images[start : start + size]) for start in range(0, len(images), size)))
        return Answers(self._defend(np.concatenate(parts)))

    async def ready(self) -> bool:
        try:
            return (await self._client.get(f"{self._path}/ready")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, images: Array) -> Array:
        body, headers = write_request(self._signature, torch.tensor(images), binary=self._binary)
        try:
            response = await self._client.post(f"{self._path}/infer", content=body, headers=headers)
            answers = read_answers(self._signature, _good(response), response.headers.get(LENGTH), len(images))
        except httpx2.TimeoutException:
            raise RequestError(504, "The model's server gave no answer in time.") from None
        except OracleError:
            log.error("upstream: status %d", response.status_code)
            if response.status_code in {429, 503}:
                raise RequestError(503, "The model's server is overloaded. Try again later.", wait=1) from None
            raise RequestError(502, "The model's server refused the query.") from None
        except (httpx2.HTTPError, AnswerError) as error:
            log.error("upstream: %s", type(error).__name__)
            raise RequestError(502, "The model's server gave no valid answer.") from None
        found: Array = answers.numpy()
        return found


def _good(response: httpx2.Response) -> bytes:
    if response.status_code != 200:
        raise OracleError("status 200 from upstream", f"{response.status_code}", "Check the model's name and HONEYGUARD_UPSTREAM_KEY.")
    return response.content


def _speaks_binary(client: httpx2.Client) -> bool:
    try:
        return BINARY in json.loads(_good(client.get("/v2")))["extensions"]
    except (HoneyguardError, *BROKEN):  # JSON is what every server takes
        return False


def _contract(signature: Signature) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if signature.shape is None or signature.classes is None:
        got = f"shape {signature.shape} and {signature.classes} classes"
        raise ParameterError("an upstream model with one shape of images and a number of classes", got, "Fix both in its metadata.")
    return signature.shape, tuple(map(str, range(signature.classes)))
