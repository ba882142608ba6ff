"""ONNX Runtime behind the same framework and nothing else: what the gateway is compared with.

python benchmarks/gateway/helpers/bare.py FOLDER PORT
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response


def create_app(folder: Path) -> FastAPI:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/v2/models/model/infer")
    async def infer(request: Request) -> Response:
        tensor = orjson.loads(await request.body())["inputs"][0]
        images = np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])
        (answers,) = session.run(["probabilities"], {"images": images})
        output = {"name": "probabilities", "datatype": "FP32", "shape": answers.shape, "data": answers.reshape(-1)}
        content = orjson.dumps({"model_name": "model", "model_version": "1", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[1])), port=int(sys.argv[2]), access_log=False, log_level="warning", ws="none")
