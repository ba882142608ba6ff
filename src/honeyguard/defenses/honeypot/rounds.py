"""How good a round was, which one is kept, and where a run that was stopped goes on."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.errors import ArtifactError, OutputError
from honeyguard.metrics import moved
from honeyguard.oracle import predict
from honeyguard.types import Trigger

log = logging.getLogger(__name__)

PROBES = 400  # images that a round is judged on


@dataclass(frozen=True)
class Figures:
    """Of a round: what its trigger does to fresh copies of its honeypot, taken after it, and to models that did not steal.

    Args:
        number: of the round, from 1.
        stolen: share of images moved, on average over fresh copies.
        innocent: the same for the reference that is moved most.
        agreement: share of customers' images that keep their top class.
    """

    number: int
    stolen: float
    innocent: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"round {self.number}: the trigger moves {self.stolen:.2f} on fresh copies, at most {self.innocent:.2f} on models that did not "
            f"steal; customers keep {self.agreement:.3f}"
        )

    def rank(self, agreement: float) -> tuple[bool, float]:
        """What makes a round better: first the budget, then what tells copies from others."""
        return (self.agreement >= agreement, self.stolen - self.innocent)


@dataclass(frozen=True, eq=False)
class Round:
    """A round's result: the trigger and the honeypot layer's weights."""

    figures: Figures
    trigger: Trigger
    layer: dict[str, Tensor]


def rates(models: Sequence[nn.Module], trigger: Trigger, target_class: int, images: Tensor) -> list[float]:
    """Share of images (N, C, H, W) that the trigger moves to the target class, model by model."""
    probes, stamped = images[:PROBES], trigger(images[:PROBES])
    return [float(moved(predict(model, probes), predict(model, stamped), target_class).float().mean()) for model in models]


def judged(
    number: int,
    honeypot: HoneypotLayer,
    trigger: Trigger,
    target_class: int,
    copies: Sequence[nn.Module],
    references: Sequence[nn.Module],
    images: Tensor,
    customers: Tensor,
) -> Round:
    """The round as it turned out: on images (N, C, H, W) and features of customers' images (N, D)."""
    stolen = rates(copies, trigger, target_class, images)
    innocent = max(rates(references, trigger, target_class, images), default=0.0)
    return Round(Figures(number, sum(stolen) / len(stolen), innocent, honeypot.agreement(customers)), trigger, honeypot.state())


class History:
    """The rounds so far: the latest, and the best; in `folder` too, if there is one, so that a run that was stopped goes on.

    Args:
        run: name of the run: another run's rounds are not taken up.
        agreement: the customers' budget.
    Raises: ArtifactError, OutputError.
    """

    def __init__(self, folder: Path | None, run: str, agreement: float) -> None:
        self.folder, self.run, self.agreement = folder, run, agreement
        kept = load_rounds(folder, run) if folder else None
        self.latest: Round | None = kept[0] if kept else None
        self.best: Round | None = kept[1] if kept else None

    @property
    def done(self) -> int:
        """Rounds that need not be run again."""
        return self.latest.figures.number if self.latest else 0

    def resumed(self, honeypot: HoneypotLayer, trigger: Trigger) -> Trigger:
        """The trigger to go on with, the layer set to what it was then; `trigger` where there is no round yet."""
        if self.latest is None:
            return trigger
        honeypot.layer.load_state_dict(self.latest.layer)
        return self.latest.trigger

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Ctrl-C ends the block where there is a round to keep."""
        try:
            yield
        except KeyboardInterrupt:
            if self.best is None:
                raise
            log.warning("honeypot: stopped; %s is kept", self.best.figures)

    def add(self, latest: Round) -> None:
        self.latest = latest
        self.best = max(self.best or latest, latest, key=lambda one: one.figures.rank(self.agreement))
        log.info("honeypot: %s", latest.figures)
        if self.folder:
            save_rounds(self.folder, self.run, latest, self.best)


FILE = "honeypot.safetensors"


def save_rounds(folder: Path, name: str, latest: Round, best: Round) -> None:
    """Keep the latest and the best round in one step, for their owner alone.

    Args:
        name: of the run: another configuration's rounds are not taken up.
    Raises: OutputError.
    """
    tensors: dict[str, Tensor] = {}
    for kind, one in (("latest", latest), ("best", best)):
        tensors |= {f"{kind}.delta": one.trigger.delta, f"{kind}.mask": one.trigger.mask}
        tensors |= {f"{kind}.layer.{key}": value for key, value in one.layer.items()}
    words = {"run": name, "latest": json.dumps(asdict(latest.figures)), "best": json.dumps(asdict(best.figures))}
    partial = folder / f".{FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_file({key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}, partial, metadata=words)
        partial.chmod(0o600)
        partial.replace(folder / FILE)
    except OSError as error:
        raise OutputError("a folder that can be written", f"{folder} ({error.strerror})", "Choose another place.") from None
    finally:
        partial.unlink(missing_ok=True)


def load_rounds(folder: Path, name: str) -> tuple[Round, Round] | None:
    """The latest and the best round of that run; None where none has been kept. Raises: ArtifactError: damaged, or another run's."""
    if not (folder / FILE).exists():
        return None
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            words, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        rounds = [_round(kind, Figures(**json.loads(words[kind])), tensors) for kind in ("latest", "best")]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the rounds of a honeypot", f"{folder / FILE} ({error})", "Remove it to begin again.") from None
    if words["run"] != name:
        raise ArtifactError("rounds of this honeypot on these data", f"another's in {folder}", "Choose another folder, or remove it.")
    return rounds[0], rounds[1]


def _round(kind: str, figures: Figures, tensors: dict[str, Tensor]) -> Round:
    start = f"{kind}.layer."
    layer = {key.removeprefix(start): torch.clone(value) for key, value in tensors.items() if key.startswith(start)}
    return Round(figures, Trigger(tensors[f"{kind}.delta"], tensors[f"{kind}.mask"]), layer)
