"""The Open Inference Protocol v2 on the wire, as a client reads and writes it: JSON, or the binary tensor extension.

Source: KServe, Open Inference Protocol v2 (REST) and its binary tensor data extension; NVIDIA Triton speaks the same.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from honeyguard.contract import check_answers
from honeyguard.errors import AnswerError, OracleError
from honeyguard.wire import DTYPES, LENGTH

BROKEN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a model's metadata say.

    Args:
        input: name of the input.
        shape: (C, H, W) of an image; None where the model takes several.
        batch: images a request at most; None for any number.
        output: name of the output that holds the probabilities.
        classes: K; None where the metadata don't say.
    """

    input: str
    shape: tuple[int, ...] | None
    batch: int | None
    output: str
    classes: int | None


def read_signature(content: bytes, output: str | None = None) -> Signature:
    """The signature in a model's metadata; `output` names one of several outputs.

    Raises: OracleError: no metadata, or not those of an image classifier.
    """
    expected = "metadata of a model with one FP32 input (N, C, H, W) and one output (N, K)"
    try:
        metadata = json.loads(content)
        inputs, outputs = (
            [(str(t["name"]), str(t["datatype"]), tuple(int(size) for size in t["shape"])) for t in metadata[kind]]
            for kind in ("inputs", "outputs")
        )
    except BROKEN as error:
        got = f"{len(content)} bytes that are none ({type(error).__name__})"
        raise OracleError(expected, got, "Check that the URL is one of the Open Inference Protocol v2.") from None
    chosen = [o for o in outputs if output in (None, o[0])]
    if len(inputs) != 1 or inputs[0][1] != "FP32" or len(inputs[0][2]) != 4 or len(chosen) != 1:
        got = " and ".join(
            f"{kind} {', '.join(map(_described, t[:4])) or 'none'}" for kind, t in (("inputs", inputs), ("outputs", outputs))
        )
        raise OracleError(expected, got, "Name one of several outputs (output=…); other models can't be asked about images.")
    (name, _, (batch, *image)), ((chosen_name, _, sizes),) = inputs[0], chosen
    return Signature(
        input=name,
        shape=tuple(image) if min(image) > 0 else None,
        batch=batch if batch > 0 else None,
        output=chosen_name,
        classes=sizes[-1] if len(sizes) == 2 and sizes[-1] > 0 else None,
    )


def write_request(signature: Signature, images: Tensor, *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers that ask about images (N, C, H, W) float32."""
    tensor: dict[str, Any] = {"name": signature.input, "shape": list(images.shape), "datatype": "FP32"}
    output: dict[str, Any] = {"name": signature.output}
    values = images.detach().cpu().numpy().astype(DTYPES["FP32"])
    if not binary:
        body = json.dumps({"inputs": [{**tensor, "data": values.ravel().tolist()}], "outputs": [output]}).encode()
        return body, {"Content-Type": "application/json"}
    tensor["parameters"], output["parameters"] = {"binary_data_size": values.nbytes}, {"binary_data": True}
    header = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    return header + values.tobytes(), {"Content-Type": "application/octet-stream", LENGTH: str(len(header))}


def read_answers(signature: Signature, content: bytes, length: str | None, rows: int) -> Tensor:
    """Probabilities (rows, K) float32 from a response; `length` is its header of that name, None for plain JSON.

    Raises: AnswerError: no such output, another shape or type, or rows that are no distributions.
    """
    expected = f"output {signature.output!r} of {', '.join(DTYPES)} numbers ({rows}, K)"
    split = int(length) if length is not None and length.isdecimal() else len(content)
    try:
        found, rest = None, content[split:]
        for tensor in json.loads(content[:split])["outputs"]:
            size = tensor.get("parameters", {}).get("binary_data_size")
            raw, rest = (None, rest) if size is None else (rest[:size], rest[size:])
            if tensor["name"] == signature.output:
                found = _array(tensor, raw)
        if found is None:
            raise KeyError(signature.output)
    except BROKEN as error:
        got = f"{len(content)} bytes that are something else ({type(error).__name__}: {str(error)[:100]})"
        raise AnswerError(expected, got, "The endpoint is broken, or the URL is not one of the Open Inference Protocol v2.") from None
    return check_answers(torch.from_numpy(found), rows)


def _array(tensor: dict[str, Any], raw: bytes | None) -> Any:
    dtype = DTYPES[tensor["datatype"]]
    with np.errstate(over="ignore"):  # to infinity, which the contract refuses
        values = np.asarray(tensor["data"], dtype) if raw is None else np.frombuffer(raw, dtype)
        return values.reshape(tensor["shape"]).astype(np.float32)


def _described(tensor: tuple[str, str, tuple[int, ...]]) -> str:
    return f"{tensor[0]!r} {tensor[1]!r} {tensor[2]}"[:100]
