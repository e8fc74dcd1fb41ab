"""Three servers to compare with, run by uvicorn: a bare one, A, and what tutorials build."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import joblib
import orjson
from fastapi import Body, FastAPI
from pydantic import BaseModel

from problems.housing import HOUSING

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_ANSWER = {
    "prediction_id": "01a200c342a8e1d4891f2bbe4e370fe1-0",
    "predicted_price": 530827.97,
    "confidence_interval": {"lower": 316205.0, "upper": 847276.1},
    "confidence": 0.9,
    "warnings": [],
    "model_version": "v1.0.0",
    "predicted_at": "2026-01-01T12:00:00.000Z",
}
"""A reply of our service."""


def _answers(count: int) -> dict[str, Any]:
    return {"predictions": [_ANSWER] * count, "count": count}


class Bare:
    """ASGI without a framework: reads the body, does not look at it, sends a constant."""

    def __init__(self) -> None:
        replies = {1: _ANSWER, 100: _answers(100), 1_000: _answers(1_000)}
        self._replies = {f"/{rows}": orjson.dumps(reply) for rows, reply in replies.items()}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        reply = self._replies[scope["path"]]
        length = (b"content-length", str(len(reply)).encode())
        headers = [(b"content-type", b"application/json"), length]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})


def yardstick() -> FastAPI:
    """A: FastAPI with our service's own types of bodies and replies, and a constant for a model."""
    app = FastAPI()
    one, many = HOUSING.contracts
    House, Houses = one.request(1_000), many.request(1_000)
    Price, Prices = one.reply, many.reply

    @app.post("/predict")
    async def predict(house: Annotated[House, Body()]) -> Price:  # type: ignore[valid-type]
        return _ANSWER

    @app.post("/predict/batch")
    async def predict_batch(body: Annotated[Houses, Body()]) -> Prices:  # type: ignore[valid-type]
        return _answers(len(body["houses"]))  # type: ignore[index]

    return app


class _House(BaseModel):
    square_feet: float
    bedrooms: float
    bathrooms: float
    age_years: float
    distance_to_city: float


class _HouseList(BaseModel):
    houses: list[_House]


def tutorial() -> FastAPI:
    """FastAPI, pydantic, a DataFrame, and the model of scikit-learn asked with it."""
    import pandas as pd

    app = FastAPI()
    model = joblib.load(Path(os.environ["MODEL"]))

    @app.post("/predict")
    def predict(house: _House) -> dict[str, float]:
        return {"predicted_price": float(model.predict(pd.DataFrame([house.model_dump()]))[0])}

    @app.post("/predict/batch")
    def predict_batch(body: _HouseList) -> dict[str, list[float]]:
        frame = pd.DataFrame([house.model_dump() for house in body.houses])
        return {"predicted_prices": model.predict(frame).tolist()}

    return app
