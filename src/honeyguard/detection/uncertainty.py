"""Uncertainty: queries on which the model is less sure than on benign ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from honeyguard.detection.evidence import Surprising
from honeyguard.detection.streams import Array, Queries


@dataclass(frozen=True, kw_only=True)
class Uncertainty(Surprising):
    """Entropy of the answers: who looks for the model's boundaries gets unsure ones.

    Source: the uncertainty of ActiveThief (Pal et al., AAAI 2020), turned against it.
    Threat model: active learning, images across boundaries or of other things. Nothing is seen where labels alone are answered.
    Args: see `Surprising`.
    """

    def describe(self, benign: Queries) -> dict[str, Array]:  # noqa: ARG002
        return {}

    def measure(self, queries: Queries, state: Mapping[str, Array]) -> Array:  # noqa: ARG002
        answers = np.maximum(queries.answers, 1e-9)
        entropies: Array = -(answers * np.log(answers)).sum(1)
        return entropies
