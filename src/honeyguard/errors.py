"""Errors: one class per diagnosis. Each message says what was expected, what came and what to do."""

import difflib
from collections.abc import Iterable


class HoneyguardError(Exception):
    """A mistake that the user can mend; the command line prints it in one line and exits with 2."""

    def __init__(self, expected: str, got: str, do: str) -> None:
        super().__init__(f"expected {expected}; got {got}. {do}")


class ImageError(HoneyguardError):
    """Images that break the input contract: shape, dtype, range or NaN."""


class AnswerError(HoneyguardError):
    """Answers that are no probability distributions."""


class OracleError(HoneyguardError):
    """An oracle that refuses, fails or can't be reached."""


class ClassificationLayerError(HoneyguardError):
    """The model has no linear classification layer, or more than one candidate."""


class ClassCountError(HoneyguardError):
    """The classes of the data and of the model differ."""


class DataError(HoneyguardError):
    """A source of data that can't be read, or a split that is empty, too small or overlapping."""


class TargetClassError(HoneyguardError):
    """A target class out of range, or one that the victim never predicts."""


class BudgetError(HoneyguardError):
    """A query budget that is larger than the pool, or spent."""


class ModelError(HoneyguardError):
    """A model specification that can't be built, or weights that don't fit it."""


class StructureError(HoneyguardError):
    """An oracle that is no network of the kind that an extraction reads off."""


class TrainingError(HoneyguardError):
    """A training that diverged."""


class ParameterError(HoneyguardError):
    """A hyper-parameter out of its range."""


class ArtifactError(HoneyguardError):
    """An artifact that is damaged, foreign or newer than this version of Honeyguard."""


class OutputError(HoneyguardError):
    """An output folder or file that can't be written without loss."""


class MissingExtraError(HoneyguardError):
    """A feature whose optional dependencies are not installed."""


class StoreError(HoneyguardError):
    """A database that can't be reached, or of a newer version."""


class ClientError(HoneyguardError):
    """A client of the gateway that isn't there, or is already."""


class LedgerError(HoneyguardError):
    """A ledger whose chain is broken."""


class ServeError(HoneyguardError):
    """A gateway that can't start where it is told to."""


class UnknownNameError(HoneyguardError):
    """A name that is not in a registry or a specification."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else "Use one of these names."
        super().__init__(f"a known {kind} ({', '.join(names)})", repr(name), hint)
