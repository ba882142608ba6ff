"""Honeyguard protects a deployed classifier from model extraction, watches it being stolen, and proves the theft."""

from importlib import import_module, util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from honeyguard.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """What `honeyguard.api` has, imported when it is first asked for: a gateway needs none of it, and starts without PyTorch."""
    ours = not name.startswith("_") and util.find_spec(f"honeyguard.{name}") is None  # Python looks here before it imports a module
    if not ours or name not in (api := import_module("honeyguard.api")).__all__:
        raise AttributeError(f"module 'honeyguard' has no attribute {name!r}")
    return getattr(api, name)
