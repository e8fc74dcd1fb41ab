"""How a server is asked: the path, the JSON of rows, and the values in its reply."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from engine.domain.schema import Matrix
from problems.housing import HOUSING

_NAMES = HOUSING.schema.names
_WHOLE = {column.name for column in HOUSING.schema.columns if column.is_whole}


@dataclass(frozen=True)
class Face:
    """Servers that take the same bodies have the same `body`, which names the file of bodies."""

    body: str
    path: Callable[[int], str]
    encode: Callable[[Matrix], Any]
    values: Callable[[Any], list[float]]

    def body_of(self, rows: Matrix) -> bytes:
        return orjson.dumps(self.encode(rows), option=orjson.OPT_SERIALIZE_NUMPY)


def _houses_of(rows: Matrix) -> list[dict[str, float]]:
    """One object a row, whole numbers written as such."""
    found = [dict(zip(_NAMES, row, strict=True)) for row in rows.tolist()]
    return [{n: int(v) if n in _WHOLE else v for n, v in house.items()} for house in found]


def _one_or_many(rows: Matrix) -> Any:
    houses = _houses_of(rows)
    return houses[0] if len(houses) == 1 else {"houses": houses}


def _prices_of(reply: Mapping[str, Any]) -> list[float]:
    """Raises ValueError where an interval does not contain the price."""
    prices: list[float] = []
    for one in reply.get("predictions", [reply]):
        interval = one["confidence_interval"]
        if not interval["lower"] <= one["predicted_price"] <= interval["upper"]:
            raise ValueError(f"the interval does not contain the price: {one}")
        prices.append(one["predicted_price"])
    return prices


def _points_of(reply: Mapping[str, Any]) -> list[float]:
    found: list[float] = reply.get("predicted_prices") or [reply["predicted_price"]]
    return found


def _prediction_path(rows: int) -> str:
    return "/predict" if rows == 1 else "/predict/batch"


OURS = Face("houses", _prediction_path, _one_or_many, _prices_of)
"""The face of our service and of A."""
TUTORIAL = Face("houses", _prediction_path, _one_or_many, _points_of)
CONSTANT = Face("houses", lambda rows: f"/{rows}", _one_or_many, _prices_of)
