"""Dataclasses from tables of TOML, strict about every key."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from honeyguard.errors import DataError, ParameterError, UnknownNameError

T = TypeVar("T")
Parts = tuple[tuple[Any, tuple[str, Mapping[str, Any]]], ...]
"""Kinds of fields that are written as a name of a registry or as `{ name = …, **parameters }`: (kind, (what it is called, registry))."""


def read_toml(path: Path, what: str, do: str) -> dict[str, Any]:
    """The table in a file. Raises: DataError: no TOML there."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{what} in TOML", f"{path} ({error})", do) from None


def made(kind: str, registry: Mapping[str, Any], entry: Mapping[str, Any], parts: Parts = ()) -> Any:
    """The object that `{name = …, **parameters}` describes. Raises: UnknownNameError, ParameterError."""
    parameters = dict(entry)
    name = parameters.pop("name", "")
    if name not in registry:
        raise UnknownNameError(kind, name, registry)
    return construct(registry[name], parameters, f"{kind} {name}", parts)


def part_of(kind: str, registry: Mapping[str, Any], text: str, defaults: Mapping[str, Any] | None = None, parts: Parts = ()) -> Any:
    """What `name` or `name:parameter=value,…` names. Raises: ParameterError, UnknownNameError."""
    name, _, parameters = text.partition(":")
    try:
        given = tomllib.loads(f"parameters = {{{parameters}}}")["parameters"]
    except tomllib.TOMLDecodeError as error:
        raise ParameterError("name:parameter=value,…", f"{text!r} ({error})", "For example reverse_sigmoid:beta=0.5,gamma=0.2.") from None
    return made(kind, registry, {**(defaults or {}), "name": name, **given}, parts)


def construct(kind: type[T], table: Mapping[str, Any], where: str, parts: Parts = ()) -> T:
    """A dataclass from a table, field by field and nested.

    Raises: UnknownNameError: an unknown key, with the nearest right one. ParameterError: a value missing or of another type.
    """
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    for name in table:
        if name not in fields:
            raise UnknownNameError(f"key of {where}", name, fields)
    required = (dataclasses.MISSING, dataclasses.MISSING)
    missing = [n for n, f in fields.items() if n not in table and (f.default, f.default_factory) == required]
    if missing:
        raise ParameterError(f"the keys {', '.join(missing)} in {where}", "none", "Add them.")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, f"{where}.{name}", parts) for name, value in table.items()})


def _value(hint: Any, value: Any, where: str, parts: Parts) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _value(next(a for a in arguments if a is not type(None)), value, where, parts)
    if (part := next((part for kind, part in parts if kind is hint), None)) and isinstance(value, str | Mapping):
        return made(*part, {"name": value} if isinstance(value, str) else value, parts)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ParameterError(f"a table at {where}", repr(value), "Write it as { key = value }.")
        return construct(hint, value, where, parts)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ParameterError(f"a list at {where}", repr(value), "Write it as [ … ].")
        return tuple(_value(arguments[0], item, f"{where}[{i}]", parts) for i, item in enumerate(value))
    if origin is dict:
        return {key: _value(arguments[1], item, f"{where}.{key}", parts) for key, item in dict(value).items()}
    if hint is float and isinstance(value, int):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise ParameterError(f"{hint.__name__} at {where}", repr(value), "Mend the value.")
    return value
