"""The Open Inference Protocol v2 on the wire, as a server reads and writes it: JSON, or the binary tensor extension.

Source: KServe, Open Inference Protocol v2 (REST) and its binary tensor data extension.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from honeyguard.gateway.flat import read_flat
from honeyguard.wire import BINARY, DTYPES, LENGTH

Array = NDArray[np.float32]
INPUT, OUTPUT = "images", "probabilities"


class RequestError(Exception):
    """A request that isn't answered: an HTTP status and a text that may be shown to the client.

    Args:
        wait: seconds after which another try makes sense.
    """

    def __init__(self, status: int, text: str, wait: int | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.wait = status, text, wait


@dataclass(frozen=True, kw_only=True)
class Model:
    """What clients may know of the model: name, version, (C, H, W) of an image and the names of the K classes."""

    name: str
    version: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]

    def check(self, model: str | None = None, version: str | None = None) -> None:
        """Raises: RequestError: 404 for the name or the version of another model."""
        if model not in {None, self.name} or version not in {None, self.version}:
            got = f"{(model or self.name)[:80]!r}" + (f", version {version[:80]!r}" if version is not None else "")
            raise RequestError(404, f"expected the model {self.name!r}, version {self.version!r}; got {got}.")

    def metadata(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "honeyguard",
            "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *self.shape]}],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(self.classes)]}],
            "parameters": {"classes": list(self.classes)},
        }


@dataclass(frozen=True)
class Query:
    """One request: images (N, C, H, W) float32 in [0, 1], the client's own id of it, and whether it wants binary tensors."""

    images: Array
    id: str | None
    binary: bool


def read_query(body: bytes, length: str | None, model: Model, largest: int) -> Query:
    """The images in a request's body; `length` is its header of that name, None for plain JSON.

    Args:
        largest: images at most.
    Raises: RequestError: 400, or 413 for too many images.
    """
    header, raw = _split(body, length)
    request = _table(header, "the request")
    tensors = request.get("inputs")
    if not isinstance(tensors, list) or len(tensors) != 1:
        got = f"{len(tensors)} tensors" if isinstance(tensors, list) else "none"
        raise RequestError(400, f"expected 'inputs' with the one tensor {INPUT!r}; got {got}.")
    tensor = _table(tensors[0], "the input")
    rows = _check_tensor(tensor, model, largest)
    wanted, default = request.get("outputs"), _parameters(request).get("binary_data_output")
    images = _images(tensor, raw, rows, model.shape)
    return Query(_in_range(images), _id(request), _wants_binary(wanted, bool(default)))


def write_answers(model: Model, query: Query, answers: Array) -> tuple[bytes, dict[str, str]]:
    """Body and headers that answer a query with probabilities (N, K)."""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": answers.shape}
    response = {"model_name": model.name, "model_version": model.version, "outputs": [output]}
    if query.id is not None:
        response["id"] = query.id
    if not query.binary:
        output["data"] = np.ascontiguousarray(answers).reshape(-1)
        return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY), {"Content-Type": "application/json"}
    raw = answers.astype(DTYPES["FP32"], copy=False).tobytes()
    output["parameters"] = {"binary_data_size": len(raw)}
    header = orjson.dumps(response)
    return header + raw, {"Content-Type": "application/octet-stream", LENGTH: str(len(header))}


def server_metadata(version: str) -> dict[str, Any]:
    return {"name": "honeyguard", "version": version, "extensions": [BINARY]}


# ---------------------------------------------------------------------------------------------------------------- parts


def _split(body: bytes, length: str | None) -> tuple[Any, bytes | None]:
    head, size = body, len(body)
    if length is not None:
        if not (length.isascii() and length.isdecimal() and len(length) < 12 and int(length) <= size):
            raise RequestError(400, f"expected {LENGTH} between 0 and the body's {size} bytes; got {length[:20]!r}.")
        size = int(length)
        head = body[:size]
    try:
        return read_flat(head) or orjson.loads(head), None if length is None else body[size:]
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"expected JSON in the first {size} bytes; got something else ({error}).") from None


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(400, f"expected an object as {what}; got {_kind(value)}.")
    return value


def _parameters(table: Mapping[str, Any]) -> dict[str, Any]:
    found = _table(table.get("parameters", {}), "'parameters'")
    if any(key.startswith("shared_memory") for key in found):
        raise RequestError(400, "expected tensors in the request; got shared memory, which isn't served.")
    return found


def _id(request: Mapping[str, Any]) -> str | None:
    found = request.get("id")
    if found is not None and not (isinstance(found, str) and len(found) <= 256):
        raise RequestError(400, f"expected a string of at most 256 characters as 'id'; got {_kind(found)}.")
    return found


def _check_tensor(tensor: Mapping[str, Any], model: Model, largest: int) -> int:
    """The number of images that the tensor says it has."""
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if name != INPUT:
        raise RequestError(400, f"expected the input {INPUT!r}; got {_kind(name)}.")
    if datatype != "FP32":
        raise RequestError(400, f"expected the datatype 'FP32'; got {_kind(datatype)}.")
    expected = f"a shape [N, {', '.join(map(str, model.shape))}]"
    if not isinstance(shape, list) or not all(type(size) is int for size in shape) or tuple(shape[1:]) != model.shape or shape[0] < 1:
        raise RequestError(400, f"expected {expected}, N ≥ 1; got {_kind(shape)}.")
    if shape[0] > largest:
        raise RequestError(413, f"expected at most {largest} images a request; got {_kind(shape[0])}. Send fewer at a time.")
    return int(shape[0])


def _images(tensor: Mapping[str, Any], raw: bytes | None, rows: int, shape: tuple[int, ...]) -> Array:
    size, count = _parameters(tensor).get("binary_data_size"), rows * math.prod(shape)
    if size is not None:
        if raw is None or "data" in tensor:
            raise RequestError(400, f"expected binary data after the JSON, the header {LENGTH}, and no 'data'; got a part of these.")
        if type(size) is not int or size != 4 * count or len(raw) != size:
            raise RequestError(400, f"expected {4 * count} bytes of binary data; got {len(raw)}, announced as {_kind(size)}.")
        return np.frombuffer(raw, DTYPES["FP32"]).reshape(rows, *shape)
    if raw:
        raise RequestError(400, f"expected binary_data_size with binary data; got none, and {len(raw)} bytes after the JSON.")
    expected = f"'data' with {count} numbers"
    try:
        values = np.asarray(tensor["data"])
    except (KeyError, ValueError):
        raise RequestError(400, f"expected {expected}, flat or nested; got {'a ragged list' if 'data' in tensor else 'none'}.") from None
    if values.dtype.kind not in "fiu" or values.shape not in {(count,), (rows, *shape)}:
        got = f"shape {list(values.shape)}" if values.dtype.kind in "fiu" else "something else than numbers"
        raise RequestError(400, f"expected {expected}, flat or nested as the shape; got {got}.")
    with np.errstate(over="ignore"):  # to infinity, which is refused below
        return values.astype(np.float32).reshape(rows, *shape)


def _in_range(images: Array) -> Array:
    low, high = float(np.minimum.reduce(images, axis=None)), float(np.maximum.reduce(images, axis=None))
    if not (low >= 0 and high <= 1):  # NaN is neither
        got = f"values from {low:.3g} to {high:.3g}" if low == low else "NaN"
        raise RequestError(400, f"expected values between 0 and 1; got {got}. Divide bytes by 255; normalisation belongs into the model.")
    return images


def _wants_binary(outputs: Any, default: bool) -> bool:
    if not outputs and (outputs is None or isinstance(outputs, list)):
        return default
    if not isinstance(outputs, list) or len(outputs) != 1:
        raise RequestError(400, f"expected 'outputs' with {OUTPUT!r} alone; got {_kind(outputs)}.")
    output = _table(outputs[0], "the output")
    if output.get("name") != OUTPUT:
        raise RequestError(400, f"expected the output {OUTPUT!r}; got {_kind(output.get('name'))}.")
    parameters = _parameters(output)
    if "classification" in parameters:
        raise RequestError(400, f"expected {OUTPUT!r} as they are; got the classification extension, which isn't served.")
    return bool(parameters.get("binary_data", default))


def _kind(value: Any) -> str:
    """What came, in a few characters."""
    return "nothing" if value is None else repr(value)[:80]
