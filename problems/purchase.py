"""Purchases in a shop: which items a user is about to buy, from eighteen facts of user and item.

The default data is **simulated** and says so: `simulate` draws pairs that look like a shop's, so
that the service can be tried without anybody's table. It is not evidence about shoppers.

The simulated pairs
- a user has an activity and an intent to buy, an item an appeal to this user; nobody sees them;
- views follow the activity, carts the views and the intent, purchases the carts; those of 7 days
  are a part of those of 30; the item's own views and carts follow its appeal;
- prices are log-normal around their category's median; half of the items are reduced by 5 to 60 %;
- intent, appeal, a cart, a reduction and a price low for its category make a purchase within 7
  days likelier, a long time since the item was viewed less likely. Views and carts only hint at
  intent and appeal: one in ten buys, a good model ranks about five in six of them rightly;
- any feature may be missing: a ratio without carts always is, others rarely, and most of them in
  the one row in seven whose caller knows little.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import TypedDict

from engine.domain.answer import Answer
from engine.domain.kinds import BINARY
from engine.domain.prediction import DEFAULT_THRESHOLD, Entities
from engine.domain.problem import Columns, Contract, Problem, TableForm
from engine.domain.schema import Row, Schema, Target, body_type
from problems.gaps import category, count, number, with_gaps
from problems.replies import Echo, Key, ProbabilityInterval, Time, Told, chances

_CATEGORIES = ("Electronics", "Clothing", "Home", "Beauty", "Sports", "Toys", "Books", "Grocery")
_MEDIAN_PRICES = (160.0, 45.0, 60.0, 25.0, 55.0, 30.0, 18.0, 12.0)
_MOST = 1e6
_MOST_ROWS = 1_000
_CLEARLY = 2.0
"""Odds this many times those at the threshold, or this many times smaller, are clear."""

_SCHEMA = Schema(
    (
        number("days_since_last_view", "days", "Since the user viewed anything.", 36_500, 2.5),
        number("days_since_last_item_view", "days", "Since they viewed this item.", 36_500, 5.0),
        count("view_count_7d", "views", "Items the user viewed in the last 7 days.", _MOST, 15),
        count("view_count_30d", "views", "Items the user viewed in the last 30 days.", _MOST, 45),
        count("cart_count_7d", "items", "Put into the cart in the last 7 days.", _MOST, 2),
        count("cart_count_30d", "items", "Put into the cart in the last 30 days.", _MOST, 5),
        count("purchase_count_7d", "items", "Bought in the last 7 days.", _MOST, 0),
        count("purchase_count_30d", "items", "Bought in the last 30 days.", _MOST, 1),
        number("cart_to_purchase_ratio", "ratio", "Bought per item put into the cart.", 1e3, 0.2),
        number("avg_session_duration", "minutes", "Mean of the user's sessions.", 1_440, 12.5),
        count("session_item_count", "items", "Viewed in this session.", _MOST, 8),
        number("session_duration_minutes", "minutes", "Of this session so far.", 1_440, 15.0),
        count("item_view_count", "views", "How often the user viewed this item.", _MOST, 3),
        count("item_cart_count", "times", "How often they put it into the cart.", _MOST, 1),
        number("item_price", "USD", "What the item costs now.", _MOST, 89.99),
        number("item_base_price", "USD", "What it costs when it is not reduced.", _MOST, 129.99),
        number("item_discount_pct", "percent", "By how much it is reduced.", 100, 30.0),
        category("item_category", "Where it is sold.", _CATEGORIES, "Electronics"),
    )
)

_TARGET = Target("purchased", "event", "1 when the user buys the item within 7 days.", 0, 1, BINARY)

_UserId = Annotated[Key, Field(description="Names the user. Unit: none.", examples=["user_000123"])]
_ItemId = Annotated[Key, Field(description="Names the item. Unit: none.", examples=["item_00456"])]
_PurchasePair = body_type(
    "PurchasePair", {"user_id": _UserId, "item_id": _ItemId, **_SCHEMA.fields}
)
_Threshold = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Predict 1 from here on; default: DEFAULT_THRESHOLD. Unit: probability.",
    ),
]
_Confidence = Literal["high", "medium", "low"]
_ReturnsProbabilities = Annotated[
    bool, Field(description="Whether probabilities are told. Unit: none.")
]


class PurchasePrediction(Told):
    """Whether one user buys one item within 7 days."""

    user_id: Echo
    item_id: Echo
    prediction: Annotated[
        int, Field(ge=0, le=1, description="1 when probability >= threshold. Unit: event.")
    ]
    probability: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Calibrated; null unless wished for. Unit: probability."),
    ]
    interval: Annotated[ProbabilityInterval | None, Field(description="Or null. Unit: none.")]
    confidence: Annotated[
        _Confidence,
        Field(
            description="How sure the prediction is, by the interval around the probability. low: "
            "the threshold lies within; medium: it does not; high: throughout the interval the "
            "odds are at least twice, or at most half, those at the threshold. Unit: none.",
        ),
    ]


class PurchasePredictions(TypedDict):
    """One prediction for each row of the request, in its order."""

    predictions: list[PurchasePrediction]
    model_version: Annotated[
        str, Field(description="Version that answered, or all of them, by commas. Unit: none.")
    ]
    timestamp: Time
    latency_ms: Annotated[float, Field(description="What the answer took. Unit: milliseconds.")]
    threshold: _Threshold
    return_probabilities: _ReturnsProbabilities


def _pairs_type(limit: int) -> Any:
    """The body: up to `limit` rows, and never more than `_MOST_ROWS`."""
    most = min(limit, _MOST_ROWS)
    rows = Field(min_length=1, max_length=most, description="Unit: one item a user and item.")
    return body_type(
        "PurchasePairs",
        {
            "features": Annotated[list[_PurchasePair], rows],  # type: ignore[valid-type]
            "return_probabilities": NotRequired[_ReturnsProbabilities],
            "threshold": NotRequired[_Threshold],
        },
    )


def _features_of(pair: Mapping[str, Any]) -> Row:
    return {name: value for name, value in pair.items() if name not in ("user_id", "item_id")}


def purchases_of(answer: Answer, body: Mapping[str, Any]) -> PurchasePredictions:
    threshold = body.get("threshold", answer.threshold)
    is_told = body.get("return_probabilities", True)
    rows = zip(body["features"], *chances(answer.prediction), answer.told(), strict=True)
    return {
        "predictions": [
            {
                "user_id": pair["user_id"],
                "item_id": pair["item_id"],
                "prediction": int(probability >= threshold),
                "probability": probability if is_told else None,
                "confidence": confidence(bounds, threshold),
                "interval": bounds if is_told else None,
                **facts,
            }
            for pair, probability, bounds, facts in rows
        ],
        "model_version": ", ".join(dict.fromkeys(answer.versions)),
        "timestamp": answer.predicted_at,
        "latency_ms": answer.elapsed_ms(),
        "threshold": threshold,
        "return_probabilities": is_told,
    }


_PairColumns = body_type(
    "PurchasePairColumns", {"user_id": list[_UserId], "item_id": list[_ItemId]}
)


def _columns_of(answer: Answer, others: Columns, options: Mapping[str, Any]) -> Columns:
    threshold = options.get("threshold", answer.threshold)
    is_told = options.get("return_probabilities", True)
    values, bounds = chances(answer.prediction)
    untold = [None] * len(answer)
    return {
        "user_id": others["user_id"],
        "item_id": others["item_id"],
        "prediction": [int(value >= threshold) for value in values],
        "probability": values if is_told else untold,
        "lower": [each["lower"] for each in bounds] if is_told else untold,
        "upper": [each["upper"] for each in bounds] if is_told else untold,
        "confidence": [confidence(each, threshold) for each in bounds],
    }


def confidence(bounds: ProbabilityInterval, threshold: float) -> _Confidence:
    """How sure it is on which side of the threshold the probability lies: high, medium or low."""
    lower, upper = bounds["lower"], bounds["upper"]
    if lower < threshold <= upper:
        return "low"
    is_above = lower * (1 - threshold) >= _CLEARLY * threshold * (1 - lower)
    is_below = _CLEARLY * upper * (1 - threshold) <= threshold * (1 - upper)
    return "high" if is_above or is_below else "medium"


def simulate(rows: int, seed: int) -> Columns:
    """Draw `rows` pairs of a user and an item; see the module's docstring."""
    rng = np.random.default_rng(seed)
    intent, appeal = rng.normal(0, 1, (2, rows))
    kind = rng.integers(len(_CATEGORIES), size=rows)
    median = np.array(_MEDIAN_PRICES)[kind]
    base = (median * np.exp(rng.normal(0, 0.6, rows))).round(2)
    discount = np.where(rng.random(rows) < 0.5, 5.0 * rng.integers(1, 13, rows), 0.0)
    facts = {
        **_user_facts(rng, intent),
        "item_view_count": 1.0 + rng.poisson(np.exp(0.1 + 0.7 * appeal)),
        "item_price": (base * (1 - discount / 100)).round(2),
        "item_base_price": base,
        "item_discount_pct": discount,
        "item_category": np.array(_CATEGORIES, object)[kind],
    }
    into_cart = 1 / (1 + np.exp(2.2 - 0.6 * intent - 1.1 * appeal))
    facts["item_cart_count"] = rng.binomial(facts["item_view_count"].astype(int), into_cart) + 0.0
    waited = rng.exponential(6 * np.exp(-0.4 * appeal)).round(1)
    facts["days_since_last_item_view"] = facts["days_since_last_view"] + waited
    log_odds = (
        -3.85
        + 1.2 * intent
        + 1.2 * appeal
        + 1.0 * (facts["item_cart_count"] > 0)
        + 0.03 * discount
        - 0.4 * np.log(base / median)
        - 0.05 * np.minimum(facts["days_since_last_item_view"], 30)
    )
    purchased = rng.random(rows) < 1 / (1 + np.exp(-log_odds))
    known = with_gaps({name: facts[name] for name in _SCHEMA.names}, rng)
    return {**known, "purchased": purchased.astype(float)}


def _user_facts(rng: np.random.Generator, intent: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What the user did in the last 30 days, and in the session that goes on."""
    rows = len(intent)
    active = rng.normal(0, 1, rows)
    lately = rng.beta(1.2, 2.4, rows)
    views = rng.poisson(np.exp(3.1 + 0.8 * active + 0.15 * intent))
    carts = rng.binomial(views, 1 / (1 + np.exp(2.4 - 0.9 * intent)))
    bought = rng.binomial(carts, 1 / (1 + np.exp(1.0 - 0.5 * intent)))
    months = {"view_count": views, "cart_count": carts, "purchase_count": bought}
    weeks = {name: rng.binomial(counts, lately) for name, counts in months.items()}
    mean_session = np.exp(2.3 + 0.25 * active + rng.normal(0, 0.3, rows)).round(1)
    this_week, before = rng.uniform(0, 7, rows) ** 1.5 / 2.7, 7 + rng.gamma(2, 8, rows)
    return {
        **{f"{name}_7d": counts.astype(float) for name, counts in weeks.items()},
        **{f"{name}_30d": counts.astype(float) for name, counts in months.items()},
        "cart_to_purchase_ratio": np.where(carts > 0, bought / np.maximum(carts, 1), np.nan),
        "days_since_last_view": np.where(weeks["view_count"] > 0, this_week, before).round(1),
        "avg_session_duration": mean_session,
        "session_item_count": 1.0 + rng.poisson(5 * np.exp(0.3 * intent)),
        "session_duration_minutes": (mean_session * rng.gamma(2, 0.5, rows)).round(1),
    }


_PRICED = ("item_price", "item_base_price", "item_discount_pct", "item_category")
_PAIR = {"user_id": "user_000123", "item_id": "item_00456"}
_PRICED_PAIR = {**_PAIR, **{name: _SCHEMA.example[name] for name in _PRICED}}
_OPTIONS = {"return_probabilities": True, "threshold": DEFAULT_THRESHOLD}

PURCHASE = Problem(
    name="purchase",
    title="Purchases in a shop",
    schema=_SCHEMA,
    target=_TARGET,
    contracts=(
        Contract(
            path="/predict",
            summary="Predict which items are bought within 7 days; all are answered or none",
            request=_pairs_type,
            reply=PurchasePredictions,
            entities=lambda body: Entities(
                [_features_of(pair) for pair in body["features"]],
                [pair["user_id"] for pair in body["features"]],
            ),
            answer=purchases_of,
            examples={
                "documented": {"features": [{**_PAIR, **_SCHEMA.example}], **_OPTIONS},
                "only the item": {"features": [_PRICED_PAIR], **_OPTIONS},
            },
            table=TableForm(
                "features",
                _PairColumns,
                _columns_of,
                texts=lambda pair: {name: pair[name] for name in _PAIR},
                key="user_id",
                most_rows=_MOST_ROWS,
            ),
        ),
    ),
    simulate=simulate,
    slices=("view_count_30d", "item_price", "item_discount_pct"),
    layouts={},
)
