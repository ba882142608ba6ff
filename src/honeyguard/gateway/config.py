"""The configuration: one TOML file, strict about every key; what isn't said has a safe default."""

from dataclasses import dataclass, field
from pathlib import Path

from honeyguard.errors import ParameterError, UnknownNameError
from honeyguard.tables import construct, read_toml

STEPS = ("log", "slow", "perturb", "label", "block")
"""What may be done about a client, from the mildest on."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may cost.

    Args:
        body: bytes of a request.  batch: images of a request.  header: bytes of a request's headers.
        seconds: for a whole answer.  upload: seconds for a request to arrive, headers and body each.
        concurrency: requests at a time, over all clients.  per_client: requests at a time of one client.
        rate: images of one client, like "600/minute"; None for no limit.
        rate_store: where rates are counted: memory:// or redis://host:port, which replicas share.
    """

    body: int = 16 << 20
    batch: int = 256
    header: int = 32 << 10
    seconds: float = 30.0
    upload: float = 10.0
    concurrency: int = 1024
    per_client: int = 256
    rate: str | None = None
    rate_store: str = "memory://"


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What is kept of each query.

    Args:
        images: keep images, features and answers too, so that a log can be replayed through a new detector.
        seconds: between two writes.
        backlog: requests not yet written at which the gateway stops answering.
    """

    images: bool = False
    seconds: float = 0.5
    backlog: int = 20_000


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is done about a suspicious client: with each alarm one step further down `ladder`, never back by itself.

    Args:
        thresholds: JSON file that `honeyguard calibrate` wrote, with the detectors; nobody is watched without one.
        ladder: of log, slow, perturb, label, block.
        patience: images of a client between two alarms of one detector.
        delay: seconds that `slow` adds to each answer.
        perturbation: the output defense of `perturb`, name:parameter=value,…
        clients: clients whose streams are watched at a time.
        share: of one core's time that the detectors may take; beyond it they look at a random part of the requests.
    """

    thresholds: str | None = None
    ladder: tuple[str, ...] = ("log",)
    patience: int = 200
    delay: float = 1.0
    perturbation: str = "reverse_sigmoid:beta=1.0"
    clients: int = 10_000
    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ParameterError("policy.share above 0, at most 1", f"{self.share:g}", "Mend it.")
        for step in self.ladder:
            if step not in STEPS:
                raise UnknownNameError("step of policy.ladder", step, STEPS)
        if list(self.ladder) != sorted(set(self.ladder), key=STEPS.index):
            raise ParameterError(f"policy.ladder in the order {', '.join(STEPS)}", ", ".join(self.ladder), "Order it, each step once.")


@dataclass(frozen=True, kw_only=True)
class Marks:
    """DAWN's marks: `share` of each client's queries are answered otherwise and remembered; 0 for none."""

    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 0.005:
            raise ParameterError("marks.share between 0 and 0.005", f"{self.share:g}", "More would cost customers too much.")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything but the model.

    Args:
        state: folder of the server's secret, its journal and, by default, its database.
        database: URL, such as postgresql+psycopg://user@host/name; SQLite in `state` by default.
        model: the name that clients ask for.  version: its version.
        threads: of the model's computation.
        upstream: root URL of a server to stand in front of, instead of a model of its own.
        upstream_model: the model's name there; `model` if not given.
        defenses: output defenses on the way back, name:parameter=value,…
    """

    state: str = "honeyguard-state"
    database: str | None = None
    model: str = "model"
    version: str = "1"
    threads: int = 1
    upstream: str | None = None
    upstream_model: str | None = None
    defenses: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    ledger: Ledger = field(default_factory=Ledger)
    policy: Policy = field(default_factory=Policy)
    marks: Marks = field(default_factory=Marks)

    def __post_init__(self) -> None:
        for name, value in (*vars(self.limits).items(), ("threads", self.threads), ("ledger.seconds", self.ledger.seconds)):
            if isinstance(value, int | float) and value <= 0:
                raise ParameterError(f"{name} above 0", f"{value:g}", "Raise it.")

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{Path(self.state) / 'gateway.sqlite'}"


def read(path: Path | None) -> Config:
    """Raises: DataError, UnknownNameError: an unknown key, with the nearest right one. ParameterError."""
    if path is None:
        return Config()
    return construct(Config, read_toml(path, "a configuration", "docs/gateway.md has one."), "configuration")
