"""Honeyguard protects a deployed classifier from model extraction, watches it being stolen, and proves the theft."""

from importlib import import_module, util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from honeyguard.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """What `honeyguard.api` has, imported when it is first asked for: a gateway needs none of it, and starts without PyTorch."""
    module = not name.startswith("_") and util.find_spec(f"honeyguard.{name}")  # Python asks here before it imports one
    if name == "__all__" or not (module or name.startswith("_")):
        api = import_module("honeyguard.api")
        if name == "__all__" or name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module 'honeyguard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("honeyguard.api").__all__})
