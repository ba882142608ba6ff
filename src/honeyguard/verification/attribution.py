"""Attribution: which client's marked answers did a suspect learn?"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.errors import DataError
from honeyguard.oracle import predict
from honeyguard.types import Oracle

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MarkedSet:
    """One client's queries whose answers were changed.

    Args:
        images: (M, C, H, W).
        told: the class that the answer named (M,), drawn by a keyed hash from the K - 1 others.
        hidden: the class that it hid (M,).
    """

    images: Tensor
    told: Tensor
    hidden: Tensor


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Who leaked, as far as the evidence goes.

    Args:
        named: the clients whose marks the suspect learnt; nobody where that isn't sure.
        p_values: of each client, before any correction.
        significance: chance that anybody at all is named although the suspect learnt no client's answers.
        controls: number of models that did not steal, with which the suspect was compared.
        marks: of each client.
        conclusion: one sentence in plain words.
    """

    named: tuple[str, ...]
    p_values: Mapping[str, float]
    significance: float
    controls: int
    marks: Mapping[str, int]
    conclusion: str


@dataclass(frozen=True, kw_only=True)
class MarkTest:
    """Randomisation test of what a suspect answers to each client's marked images.

    A client's class `told` was drawn by a secret hash from the K - 1 classes that the model did not answer. A suspect that didn't learn
    from that client's answers can't know it: then any other draw would do as well. The statistic is the sum, over a client's marked
    images, of how much more probable than expected the suspect takes the told class for (logarithms, among those K - 1), and its
    p-value the share of `draws` of other classes that give as much. What is expected is the combination of the controls that comes
    nearest to the suspect. The served model belongs among them: its ordinary answers are what any copy is like, but for the marks. The
    test is exact whatever suspect and controls are, and holds for one that stole from another client too.

    Each model is asked about a marked image as it is and moved by a few pixels in eight directions, and its answers are averaged: a thief
    who shifts its training images learnt the mark around the image, hardly on it.

    Source: DAWN (see `honeyguard.detection.dawn`), §4.3, counts the told labels; the randomisation test is Fisher's (The Design of
        Experiments, 1935), and reads probabilities where a suspect gives them: a told class rises long before it wins. It asks nine
        times about each mark.
    Threat model: a suspect at a black-box API that was trained on one client's answers, or several clients'. Laundering that forgets the
        marks escapes. Innocent clients are named at `significance` at most, over all of them together (Bonferroni).
    Args:
        significance: in (0, .5].
        draws: of other classes; p-values are at least 1 / (1 + draws).
    Raises: DataError: fewer than three controls, no client.
    """

    significance: float = 0.001
    draws: int = 200_000

    def __post_init__(self) -> None:
        check_range("significance", self.significance, 1e-12, 0.5)
        check_range("draws", self.draws, 100, 1e8)

    def attribute(self, suspect: Oracle, marked: Mapping[str, MarkedSet], controls: Sequence[Oracle]) -> Attribution:
        """Judge one suspect against `controls`: the served model and others that did not steal."""
        if len(controls) < 3 or not marked:
            got = f"{len(controls)} controls and {len(marked)} clients"
            raise DataError("at least 3 controls that did not steal, and a client's marks", got, "Train models that never saw the API.")
        level = self.significance / len(marked)
        if level * (1 + self.draws) < 1:
            do = f"Raise draws to {int(1 / level)}."
            raise DataError(f"at least {int(1 / level)} draws for {len(marked)} clients", str(self.draws), do)
        known = [part for part in marked.values() if len(part.images)]
        gains = unexplained(suspect, known, controls) if known else np.empty((0, 1))
        sizes = np.cumsum([len(part.images) for part in marked.values()])[:-1]
        parts = zip(marked.items(), np.split(gains, sizes), strict=True)
        p_values = {client: self.p_value(own, (part.told - part.hidden).numpy()) for (client, part), own in parts}
        named = tuple(client for client, p in sorted(p_values.items(), key=lambda pair: pair[1]) if p <= level)
        return Attribution(
            named=named,
            p_values=p_values,
            significance=self.significance,
            controls=len(controls),
            marks={client: len(known.images) for client, known in marked.items()},
            conclusion=_conclusion(named, p_values, len(marked)),
        )

    def p_value(self, gains: Floats, told: NDArray[np.int64]) -> float:
        """Of gains (M, K - 1) and the place of the told class after the hidden one, modulo K; 1 where there are no marks."""
        observed = gains[np.arange(len(gains)), told % (gains.shape[1] + 1) - 1].sum()
        random, total = np.random.default_rng(0), np.zeros(self.draws)
        for row in gains:
            total += row[random.integers(len(row), size=self.draws)]
        return float((1 + (total >= observed - 1e-9).sum()) / (1 + self.draws))


def unexplained(suspect: Oracle, marked: Sequence[MarkedSet], controls: Sequence[Oracle]) -> Floats:
    """What no combination of the controls explains of a suspect's gains (M, K - 1) at all marks: residuals of least squares."""
    parts, hidden = around(torch.cat([part.images for part in marked])), torch.cat([part.hidden for part in marked])
    answers = (torch.stack([predict(model, part) for part in parts]).mean(0) for model in (suspect, *controls))
    own, *others = (gains_of(found, hidden) for found in answers)
    known = np.stack([found.ravel() for found in others], 1)
    weights = np.linalg.lstsq(known, own.ravel())[0]
    left: Floats = own - (known @ weights).reshape(own.shape)
    return left


def around(images: Tensor) -> list[Tensor]:
    """Images (M, C, H, W) moved up, down and to either side by nothing or a fourteenth of their size; zeros come in."""
    height, width = images.shape[2:]
    step = max(1, width // 14)
    wide = F.pad(images, (step,) * 4)
    places = itertools.product((0, step, 2 * step), repeat=2)
    return [wide[:, :, down : down + height, right : right + width] for down, right in places]


def gains_of(answers: Tensor, hidden: Tensor, floor: float = 1e-3) -> Floats:
    """Log probabilities (M, K - 1) of the classes after the hidden one, in cyclic order; each row has mean 0."""
    classes = answers.shape[1]
    order = (hidden[:, None] + torch.arange(1, classes)) % classes
    logs = (answers.double().gather(1, order) + floor).log()
    gains: Floats = (logs - logs.mean(1, keepdim=True)).numpy()
    return gains


def _conclusion(named: tuple[str, ...], p_values: Mapping[str, float], clients: int) -> str:
    smallest = min(p_values.values()) * clients
    if not named:
        return f"Nobody is named: a model that learnt no client's answers could show as much (corrected p = {min(1.0, smallest):.2g})."
    who = " and ".join(named)
    return f"The answers of {who} were learnt: corrected p = {smallest:.2g} over {clients} clients."
