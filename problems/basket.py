"""Baskets of an online grocery: what a user's next order will cost, from the orders before.

The caller names the user only; the four features are looked up. While they cannot be, a typical
user answers in their place, and the reply says so.

The default data is **simulated** and says so: `simulate` draws orders that look like a grocery's,
so that the service can be tried without anybody's table. It is not evidence about shoppers.

The simulated users
- each has a usual basket nobody sees, log-normal around 30 USD, and a loyalty. The loyal have more
  regular products; a third of all users has none yet;
- the last basket and the next one are the usual one times noise with heavy tails. The noise is
  twice as wide for users without regulars as for those with ten or more, so that some intervals
  must be wider than others; without regulars the next order is a little smaller, with many larger;
- items cost about 5 USD each, and the regulars in the last order are a part of the items there.
"""

import hashlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import TypedDict

from engine.domain.answer import Answer
from engine.domain.columns import Number
from engine.domain.prediction import Entities
from engine.domain.problem import Columns, Contract, Lookup, Problem
from engine.domain.schema import Schema, Target, body_type
from problems.replies import Echo, Key, Level, Time, Told

_SCHEMA = Schema(
    (
        Number("prior_basket_value", "USD", "What the last order cost.", 0, 100_000, 94.61),
        Number("prior_item_count", "items", "Items in the last order.", 0, 10_000, 15, True),
        Number(
            "prior_regulars_count", "products", "Regulars in the last order.", 0, 10_000, 0, True
        ),
        Number("regulars_count", "products", "Regular products of the user.", 0, 10_000, 0, True),
    )
)

_TARGET = Target("basket_price", "USD", "What the next order costs.", 0.5, 100_000)

_TYPICAL = dict(zip(_SCHEMA.names, (31.0, 7, 1, 2), strict=True))
"""About the median of each feature: it answers for users that cannot be looked up."""

DOCUMENTED = (
    "0cad47d6c469dc763adb1d206463099d94102e680eb2815de5d0ae055bdd72e2"
    "f2df884c327bfffbbefed72720bb6ec523e244912bf26aa78f5fe7d7ab893bc7"
)
_USERS = {"abc123": _SCHEMA.example, DOCUMENTED: _SCHEMA.example}
"""The users of the documented requests: both have the features that are documented for one."""

_UserId = Annotated[Key, Field(description="Names the user. Unit: none.", examples=["abc123"])]
_BasketUser = body_type("BasketUser", {"user_id": _UserId})


class BasketInterval(TypedDict):
    """A prediction interval: this very order's price lies in it at the stated confidence."""

    lower: Annotated[float, Field(description="Lower bound. Unit: USD.", examples=[18.2])]
    upper: Annotated[float, Field(description="Upper bound. Unit: USD.", examples=[119.4])]


class BasketPrediction(Told):
    """The predicted price of one user's next order."""

    user_id: Echo
    predicted_price: Annotated[
        float, Field(description="Expected price. Unit: USD.", examples=[53.6])
    ]
    timestamp: Time
    confidence_interval: BasketInterval
    confidence: Level
    degraded: Annotated[
        bool, Field(description="Whether a typical user's features stand in. Unit: none.")
    ]


class BasketPredictions(TypedDict):
    """One prediction for each user of the request, in its order."""

    predictions: list[BasketPrediction]
    count: Annotated[int, Field(description="Predictions made. Unit: users.", examples=[2])]


def _users_type(limit: int) -> Any:
    """The body of a batch of up to `limit` users."""
    users = Field(min_length=1, max_length=limit, description="Names the users. Unit: none.")
    return body_type("BasketUsers", {"user_ids": Annotated[list[Key], users]})


def _prices_of(answer: Answer, users: list[str]) -> BasketPredictions:
    columns = zip(users, answer.told(), answer.rounded(2), strict=True)
    predictions: list[BasketPrediction] = [
        {
            "user_id": user,
            "predicted_price": price,
            "timestamp": answer.predicted_at,
            "confidence_interval": {"lower": lower, "upper": upper},
            "confidence": answer.confidence,
            "degraded": answer.is_degraded,
            **facts,
        }
        for user, facts, (price, lower, upper) in columns
    ]
    return {"predictions": predictions, "count": len(predictions)}


def simulate(rows: int, seed: int) -> Columns:
    """Draw `rows` users and what each one's next order costs; see the module's docstring."""
    rng = np.random.default_rng(seed)
    usual, spread, features = _shoppers(rows, rng)
    grown = usual - 0.15 + 0.02 * np.minimum(features["regulars_count"], 15)
    price = np.exp(grown + spread * rng.standard_t(6, rows)).clip(1, 2_000).round(2)
    return {**features, "basket_price": price}


def _shoppers(
    rows: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]]:
    """Of each user the log of the usual basket, the spread around it, and the features."""
    usual = rng.normal(np.log(30), 0.5, rows)
    loyalty = rng.gamma(0.8, 6, rows) * (rng.random(rows) > 0.2)
    regulars = rng.poisson(loyalty)
    spread = 0.18 + 0.2 * np.exp(-regulars / 4)
    value = np.exp(usual + spread * rng.standard_t(6, rows)).clip(1, 2_000).round(2)
    items = 1 + rng.poisson(value / (5 * np.exp(rng.normal(0, 0.25, rows))))
    features = {
        "prior_basket_value": value,
        "prior_item_count": items.astype(float),
        "prior_regulars_count": rng.binomial(np.minimum(regulars, items), 0.5).astype(float),
        "regulars_count": regulars.astype(float),
    }
    return usual, spread, features


def _simulate_features(rows: int, seed: int) -> Columns:
    """The table of features of `rows` users that are drawn alike, after those of the documentation.

    An id is the SHA-512 of seed and number; `at` is a minute of June 2025.
    """
    rng = np.random.default_rng(seed)
    _, _, features = _shoppers(rows, rng)
    drawn = [hashlib.sha512(f"{seed} {number}".encode()).hexdigest() for number in range(rows)]
    start = np.datetime64("2025-06-01T00:00:00.000")
    at = start + rng.integers(0, 30 * 24 * 60, rows + len(_USERS)).astype("timedelta64[m]")
    first = {name: [row[name] for row in _USERS.values()] for name in _SCHEMA.names}
    return {
        "user_id": np.array([*_USERS, *drawn], object),
        "at": np.array([f"{moment}Z" for moment in at], object),
        **{name: np.concatenate((first[name], features[name])) for name in _SCHEMA.names},
    }


BASKET = Problem(
    name="basket",
    title="Baskets of an online grocery",
    schema=_SCHEMA,
    target=_TARGET,
    contracts=(
        Contract(
            path="/predict",
            summary="Predict what a user's next order costs; the features are looked up",
            request=lambda limit: _BasketUser,
            reply=BasketPrediction,
            entities=lambda body: Entities.named([body["user_id"]]),
            answer=lambda answer, body: _prices_of(answer, [body["user_id"]])["predictions"][0],
            examples={"documented": {"user_id": DOCUMENTED}, "short": {"user_id": "abc123"}},
        ),
        Contract(
            path="/predict/batch",
            summary="Predict the next orders of many users; all are answered or none",
            request=_users_type,
            reply=BasketPredictions,
            entities=lambda body: Entities.named(body["user_ids"]),
            answer=lambda answer, body: _prices_of(answer, body["user_ids"]),
            examples={"documented": {"user_ids": [DOCUMENTED, "abc123"]}},
        ),
    ),
    simulate=simulate,
    slices=("prior_basket_value", "prior_item_count", "regulars_count"),
    layouts={},
    lookup=Lookup(key="user_id", fallback=_TYPICAL, simulate=_simulate_features),
)
