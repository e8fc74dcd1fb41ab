"""A deployment of Ray Serve, as its documentation shows; runs in the environment of Ray."""

import os
import signal
import sys
from typing import Any

import joblib
import numpy as np
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1)
class House:
    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    async def __call__(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        return {"prices": self.model.predict(np.array(body["rows"])).tolist()}


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(House.bind(os.environ["MODEL"]), route_prefix="/predict")
    signal.pause()
