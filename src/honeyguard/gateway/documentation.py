"""What the OpenAPI document says beyond the routes themselves."""

from typing import Any

from honeyguard.gateway.protocol import INPUT, OUTPUT, Model
from honeyguard.wire import LENGTH

TEXT = "The Open Inference Protocol v2: JSON tensors, and the binary tensor extension. Every route but health needs an API key."

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_STATUSES = {
    400: "A malformed request.",
    401: "No valid API key.",
    403: "A key that was revoked, or a client that is blocked.",
    404: "Another model or version.",
    408: "A request that arrived too slowly.",
    413: "Too many bytes or images.",
    415: "A compressed body.",
    429: "A budget that is spent, or a rate that is passed.",
    500: "A model that gave no valid answer.",
    502: "An upstream server that gave no valid answer.",
    503: "Overload, or a store that can't be reached.",
    504: "No answer in time.",
}


def _responses(*statuses: int, content: Any = None) -> dict[int | str, dict[str, Any]]:
    good: dict[int | str, dict[str, Any]] = {
        200: {"description": "An answer.", "content": content or {"application/json": {"schema": {"type": "object"}}}}
    }
    error = {"application/json": {"schema": _ERROR}}
    return good | {status: {"description": _STATUSES[status], "content": error} for status in statuses}


def _tensor(name: str, data: bool = True) -> dict[str, Any]:
    number = {"type": "number"}
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", *(["data"] if data else [])],
        "properties": {
            "name": {"const": name},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "datatype": {"const": "FP32"},
            "parameters": {"type": "object"},
            "data": {"type": "array", "items": number},
        },
    }


SECURITY: dict[str, Any] = {"security": [{"bearer": []}, {"key": []}]}
READY = _responses() | {503: {"description": "Not ready.", "content": {"application/json": {"schema": {"type": "object"}}}}}
METADATA = _responses(401, 403, 404, 503)
_SCHEMES = {"bearer": {"type": "http", "scheme": "bearer"}, "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}

_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 256},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _tensor(INPUT)},
        "outputs": {
            "type": "array",
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"const": OUTPUT}, "parameters": {"type": "object"}},
            },
        },
    },
}
_ANSWER = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "id": {"type": "string"},
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "outputs": {"type": "array", "minItems": 1, "items": _tensor(OUTPUT, data=False)},
    },
}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_LENGTH = {
    "name": LENGTH,
    "in": "header",
    "required": False,
    "description": "Bytes of the JSON, where binary tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}


def infer_documentation(*path: str) -> dict[str, Any]:
    """What the document says of an inference route with these parameters in its path."""
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in path]
    return {
        "responses": _responses(*_STATUSES, content={"application/json": {"schema": _ANSWER}, **_BINARY}),
        "openapi_extra": {
            **SECURITY,
            "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}},
            "parameters": [*parameters, _LENGTH],
        },
    }


def completed(document: dict[str, Any], model: Model) -> dict[str, Any]:
    """FastAPI's document with the ways to give a key and the model's name, and without its own form of an error, which is never sent."""
    document["components"] = {"securitySchemes": _SCHEMES}
    known = {"model": model.name, "version": model.version}
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        operation["responses"].pop("422", None)
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in known:
                parameter["schema"] = {"type": "string", "enum": [known[parameter["name"]]]}
    return document
