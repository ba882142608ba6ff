"""Numbers in JSON read straight into an array: a Python object for each of them would cost more than the rest of a query."""

from typing import Any

import numpy as np
import simdjson


def read_flat(text: bytes) -> dict[str, Any] | None:
    """A request with one tensor, whose `data`, a flat list of numbers, is an array of float64.

    None for whatever else it is, and for what isn't well-formed: another parser knows what to say of it.
    """
    try:
        document: Any = simdjson.Parser().parse(text)
        (tensor,) = document["inputs"]
        values = np.frombuffer(tensor["data"].as_buffer(of_type="d"))
        if _brackets(text, most := 3 + ("outputs" in document)) != most:  # of inputs, shape, data and outputs: no list in a list
            return None
        return _plain(document, "inputs") | {"inputs": [_plain(tensor, "data") | {"data": values}]}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None


def _plain(table: Any, left_out: str) -> dict[str, Any]:
    return {name: _python(table[name]) for name in table if name != left_out}


def _python(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value


def _brackets(text: bytes, most: int) -> int:
    """How many lists begin, at least: counting ends beyond `most`."""
    found, place = 0, text.find(b"[")
    while place >= 0 and found <= most:
        found, place = found + 1, text.find(b"[", place + 1)
    return found
