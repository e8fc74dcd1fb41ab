"""House prices: what a house sells for, from five facts about it.

The default data is **simulated** and says so: `simulate` draws a market that is shaped like a real
one, so that the service can be tried without anybody's table. It is not evidence about houses.

The simulated market
- distance to the city is gamma distributed (median about 10 miles); homes near it are older;
- size is log-normal (median about 1,900 square feet), a little larger further out;
- bedrooms and bathrooms follow the size, so the columns are correlated as they are in life;
- log price rises with log size (elasticity 0.9), a little with bathrooms, falls off with distance
  (halving at about 25 miles), falls with age up to about 60 years and then rises again for period
  homes near the centre;
- what the five facts do not know (condition, view, street) is noise on the log scale with heavy
  tails, so the spread grows with the price, and it is wider for large, old and central homes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from engine.domain.answer import Answer
from engine.domain.columns import Number
from engine.domain.prediction import Entities
from engine.domain.problem import NO_OTHERS, Columns, Contract, Layout, Problem, TableForm
from engine.domain.schema import Schema, Target, body_type
from problems.replies import Level, ModelVersion, PredictionId, Time, Warnings

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA = Schema(
    (
        Number("square_feet", "square feet", "Interior living area.", 100, 100_000, 2000),
        Number("bedrooms", "rooms", "Number of bedrooms.", 0, 50, 3, is_whole=True),
        Number(
            "bathrooms", "rooms", "Number of bathrooms; 0.5 is a room without a bath.", 0, 50, 2
        ),
        Number("age_years", "years", "Years since the house was built.", 0, 500, 10),
        Number("distance_to_city", "miles", "Distance to the city centre.", 0, 500, 5),
    )
)

_TARGET = Target("price", "USD", "Sale price.", 1_000, 1_000_000_000)

_House = _SCHEMA.row_type("House")


class ConfidenceInterval(TypedDict):
    """A prediction interval: the price of this very house lies in it at the stated confidence."""

    lower: Annotated[float, Field(description="Lower bound. Unit: USD.", examples=[382500.45])]
    upper: Annotated[float, Field(description="Upper bound. Unit: USD.", examples=[467500.55])]


class PricePrediction(TypedDict):
    """The predicted price of one house."""

    prediction_id: PredictionId
    predicted_price: Annotated[
        float, Field(description="Expected price. Unit: USD.", examples=[425000.5])
    ]
    confidence_interval: ConfidenceInterval
    confidence: Level
    warnings: Warnings
    model_version: ModelVersion
    predicted_at: Time


class PricePredictions(TypedDict):
    """One prediction for each house of the request, in its order."""

    predictions: list[PricePrediction]
    count: Annotated[int, Field(description="Predictions made. Unit: houses.", examples=[2])]


def _houses_type(limit: int) -> Any:
    """The body of a batch of up to `limit` houses."""
    houses = Field(min_length=1, max_length=limit, description="Unit: one item a house.")
    return body_type("Houses", {"houses": Annotated[list[_House], houses]})  # type: ignore[valid-type]


def _price_of(answer: Answer) -> PricePrediction:
    return _prices_of(answer)["predictions"][0]


def _prices_of(answer: Answer) -> PricePredictions:
    confidence, predicted_at = answer.confidence, answer.predicted_at
    predictions: list[PricePrediction] = [
        {
            "prediction_id": about["prediction_id"],
            "predicted_price": value,
            "confidence_interval": {"lower": lower, "upper": upper},
            "confidence": confidence,
            "warnings": about["warnings"],
            "model_version": about["model_version"],
            "predicted_at": predicted_at,
        }
        for about, (value, lower, upper) in zip(answer.told(), answer.rounded(2), strict=True)
    ]
    return {"predictions": predictions, "count": len(predictions)}


def _columns_of(answer: Answer, others: Columns, options: Mapping[str, Any]) -> Columns:
    value, lower, upper = answer.rounded_columns(2)
    return {"predicted_price": value, "lower": lower, "upper": upper}


def simulate(rows: int, seed: int) -> Columns:
    """Draw a market of `rows` sales; see the module's docstring for its shape."""
    rng = np.random.default_rng(seed)
    distance = rng.gamma(2.2, 5.5, rows)
    age = np.clip(rng.gamma(2.0, 20.0, rows) + 25 * np.exp(-distance / 6), 0, 140).round()
    feet = np.exp(rng.normal(7.53 + 0.006 * distance, 0.38, rows)).clip(320, 12_000).round()
    bedrooms = np.clip(np.round(1 + 1.1 * np.sqrt(feet / 500) + rng.normal(0, 0.7, rows)), 1, 9)
    bathrooms = np.clip(
        np.round(4 * (0.4 + feet / 1_150 - 0.004 * age + rng.normal(0, 0.45, rows))) / 4, 0.75, 8
    )
    log_price = (
        12.98
        + 0.9 * np.log(feet / 2_000)
        + 0.05 * (bathrooms - 2)
        - 0.028 * (distance - 5)
        - 0.006 * np.minimum(age, 60)
        + 0.008 * np.maximum(age - 70, 0) * np.exp(-distance / 8)
    )
    spread = 0.1 + 0.04 * (feet > 3_000) + 0.0006 * age + 0.06 * np.exp(-distance / 5)
    noise = spread * rng.standard_t(6, rows)
    price = np.exp(log_price + noise).clip(20_000, 20_000_000).round(-2)
    return {
        "square_feet": feet,
        "bedrooms": bedrooms,
        "bathrooms": bathrooms,
        "age_years": age,
        "distance_to_city": distance.round(1),
        "price": price,
    }


def _from_king_county(table: "pd.DataFrame") -> Columns:
    """The public King County table (May 2014 to May 2015) in this problem's columns.

    One row's 33 bedrooms is a typing error for 3. A house sold twice is one `group`.
    """
    import pandas as pd  # the server, which never comes here, has none

    def number(name: str) -> Any:
        return pd.to_numeric(table[name], errors="coerce")

    day = pd.to_numeric(table["date"].astype(str).str.slice(0, 8), errors="coerce")
    return {
        "square_feet": table["sqft_living"],
        "bedrooms": table["bedrooms"].replace(33, 3),
        "bathrooms": table["bathrooms"],
        "age_years": (day // 10_000 - number("yr_built")).clip(lower=0),
        "distance_to_city": miles_from(SEATTLE, number("lat"), number("long")),
        "price": table["price"],
        "group": table["id"],
        "time": day,
    }


SEATTLE = (47.6062, -122.3321)
_EARTH_RADIUS_MILES = 3958.7613


def miles_from(place: tuple[float, float], latitudes: Any, longitudes: Any) -> Any:
    """Great-circle distance in miles (haversine formula); degrees in."""
    latitude, longitude = place
    phi, phis = np.radians(latitude), np.radians(latitudes)
    half = np.sin((phis - phi) / 2) ** 2
    half += np.cos(phi) * np.cos(phis) * np.sin(np.radians(longitudes - longitude) / 2) ** 2
    return 2 * _EARTH_RADIUS_MILES * np.arcsin(np.sqrt(half))


_EXAMPLES = (
    _SCHEMA.example,
    {
        "houses": [
            dict(zip(_SCHEMA.names, (1500, 2, 1, 20, 10), strict=True)),
            dict(zip(_SCHEMA.names, (2500, 4, 3, 5, 3), strict=True)),
        ]
    },
)

HOUSING = Problem(
    name="housing",
    title="House prices",
    schema=_SCHEMA,
    target=_TARGET,
    contracts=(
        Contract(
            path="/predict",
            summary="Predict the price of one house, with an interval that covers",
            request=lambda limit: _House,
            reply=PricePrediction,
            entities=lambda body: Entities([body]),
            answer=lambda answer, body: _price_of(answer),
            examples={"documented": _EXAMPLES[0]},
        ),
        Contract(
            path="/predict/batch",
            summary="Predict the prices of many houses; all are answered or none",
            request=_houses_type,
            reply=PricePredictions,
            entities=lambda body: Entities(body["houses"]),
            answer=lambda answer, body: _prices_of(answer),
            examples={"documented": _EXAMPLES[1]},
            table=TableForm("houses", NO_OTHERS, _columns_of),
        ),
    ),
    simulate=simulate,
    slices=("square_feet", "age_years", "distance_to_city"),
    layouts={
        "king-county": Layout("the public King County sales table", _from_king_county),
    },
)
