"""A server of LitServe, as its documentation shows; runs in its environment."""

import os
import sys
from typing import Any

import joblib
import litserve
import numpy as np


class House(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array(request["rows"])

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict(rows)

    def encode_response(self, prices: np.ndarray) -> dict[str, Any]:
        return {"prices": prices.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(House(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
