"""Churn of a learning platform: who will not come back, from sixteen facts of a day.

The default data is **simulated** and says so: `simulate` draws users that behave like real ones, so
that the service can be tried without anybody's table. It is not evidence about people.

The simulated users
- each has an engagement nobody sees; a fifth of them is fading: active ever more rarely in the last
  30 days. Days, minutes and events are drawn day by day and summed over 7, 14 and 30 of them, so
  that the columns agree with each other as they do in life, sign-up included;
- the engaged pay more often; trials are young; free users owe nothing, so no payment can fail;
- who is fading, little engaged, young, on trial, or whose payments fail, churns more often. The
  features show engagement and fading only through what was done in 30 days, so that no model sees
  all of it: 23 % churn, and a good model ranks about three in four pairs of users rightly;
- any feature may be missing: a score without attempts and a failure rate without payments always
  are, others rarely, and most of them in the one row in seven whose caller knows little.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from engine.domain.answer import Answer
from engine.domain.kinds import BINARY
from engine.domain.prediction import Entities
from engine.domain.problem import Columns, Contract, Problem, TableForm
from engine.domain.schema import Schema, Target, body_type
from engine.domain.times import DAY
from problems.gaps import category, count, number, with_gaps
from problems.replies import Echo, Key, ProbabilityInterval, Time, Told, chance_columns, chances

_PLANS = ("free", "trial", "paid", "student", "team")
_PAYING = ("paid", "student", "team")
_COUNTRIES = ("US", "IN", "GB", "DE", "BR", "CA", "FR", "NG", "ES", "AU", "JP", "MX")
_SOURCES = ("organic", "search_ads", "social", "referral", "email", "affiliate", "partner")


_SCHEMA = Schema(
    (
        count("active_days_7d", "days", "Active days of the last 7.", 7, 3),
        count("active_days_14d", "days", "Active days of the last 14.", 14, 5),
        count("active_days_30d", "days", "Active days of the last 30.", 30, 12),
        count("events_7d", "events", "Events of the last 7 days.", 1e6, 25),
        number("watch_minutes_7d", "minutes", "Watched in the last 7 days.", 10_080, 120.5),
        number("watch_minutes_14d", "minutes", "Watched in the last 14 days.", 20_160, 250.0),
        number("watch_minutes_30d", "minutes", "Watched in the last 30 days.", 43_200, 600.0),
        count("quiz_attempts_7d", "quizzes", "Tried in the last 7 days.", 10_000, 2),
        number("quiz_avg_score_7d", "points", "Mean of those quizzes; none: missing.", 100, 85.0),
        count("days_since_last_activity", "days", "Since then; 0 is today.", 36_500, 0),
        count("days_since_signup", "days", "Since the user signed up.", 36_500, 45),
        number("payment_fail_rate_30d", "share", "Of payments due in 30 days.", 1, 0.0),
        category("plan", "The plan the user is on.", _PLANS, "paid"),
        count("is_paid", "0 or 1", "1 when the plan costs money.", 1, 1),
        category("country", "ISO 3166 code of the country.", _COUNTRIES, "US"),
        category("marketing_source", "What brought the user here.", _SOURCES, "organic"),
    )
)

_TARGET = Target(
    "churned", "event", "1 when the user did not come back within 30 days.", 0, 1, BINARY
)

_ChurnFeatures = _SCHEMA.row_type("ChurnFeatures")

_UserId = Annotated[Key, Field(description="Names the user. Unit: none.", examples=["12345"])]


def _day(text: str) -> str:
    """Raises ValueError for what is no day of the calendar."""
    if not re.fullmatch(DAY, text):
        raise ValueError("is not a day such as 2025-01-15")
    return text


_Day = Annotated[
    Annotated[
        str,
        AfterValidator(_day),
        Field(json_schema_extra={"format": "date", "pattern": f"^{DAY}$"}),
    ]
    | None,
    Field(
        description="The day the features are of. Unit: date, ISO 8601.", examples=["2025-01-15"]
    ),
]
_ChurnUser = body_type(
    "ChurnUser",
    {"user_id": _UserId, "snapshot_date": NotRequired[_Day], "features": _ChurnFeatures},
)


class ChurnPrediction(Told):
    """The risk that one user does not come back within 30 days."""

    user_id: Echo
    snapshot_date: Annotated[str | None, Field(description="As in the request. Unit: date.")]
    churn_risk: Annotated[
        float,
        Field(gt=0, lt=1, description="Calibrated risk. Unit: probability.", examples=[0.23]),
    ]
    risk_interval: ProbabilityInterval
    model_path: Annotated[str, Field(description="Where the model is kept. Unit: path.")]
    predicted_at: Time


class ChurnPredictions(TypedDict):
    """One prediction for each user of the request, in its order."""

    predictions: list[ChurnPrediction]
    count: Annotated[int, Field(description="Predictions made. Unit: users.", examples=[2])]


def _users_type(limit: int) -> Any:
    """The body of a batch of up to `limit` users."""
    users = Field(min_length=1, max_length=limit, description="Unit: one item a user.")
    return body_type("ChurnUsers", {"users": Annotated[list[_ChurnUser], users]})  # type: ignore[valid-type]


def _entities_of(users: Sequence[Any]) -> Entities:
    return Entities([user["features"] for user in users], [user["user_id"] for user in users])


def _risks_of(answer: Answer, users: list[Any]) -> ChurnPredictions:
    paths = map(answer.place_of, answer.versions)
    predictions: list[ChurnPrediction] = [
        {
            "user_id": user["user_id"],
            "snapshot_date": user.get("snapshot_date"),
            "churn_risk": risk,
            "risk_interval": bounds,
            "model_path": path,
            "predicted_at": answer.predicted_at,
            **facts,
        }
        for user, risk, bounds, path, facts in zip(
            users, *chances(answer.prediction), paths, answer.told(), strict=True
        )
    ]
    return {"predictions": predictions, "count": len(predictions)}


_UserColumns = body_type(
    "ChurnUserColumns", {"user_id": list[_UserId], "snapshot_date": NotRequired[list[_Day]]}
)


def _user_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The user of a body, from a row of a table."""
    about = {name: row[name] for name in ("user_id", "snapshot_date") if name in row}
    return {**about, "features": {n: cell for n, cell in row.items() if n not in about}}


def _named_in(user: Mapping[str, Any]) -> dict[str, Any]:
    return {"user_id": user["user_id"], "snapshot_date": user.get("snapshot_date")}


def _columns_of(answer: Answer, others: Columns, options: Mapping[str, Any]) -> Columns:
    risks, lower, upper = chance_columns(answer.prediction)
    return {
        "user_id": others["user_id"],
        "snapshot_date": others.get("snapshot_date", [None] * len(answer)),
        "churn_risk": risks,
        "lower": lower,
        "upper": upper,
        "model_path": [*map(answer.place_of, answer.versions)],
    }


def simulate(rows: int, seed: int) -> Columns:
    """Draw `rows` users on a day of each; see the module's docstring for what they are like."""
    rng = np.random.default_rng(seed)
    engagement = rng.normal(0, 1, rows)
    is_fading = rng.random(rows) < 0.2
    age = rng.gamma(1.1, 260, rows).clip(1, 3_000).round()
    plan = _plans(rng, engagement, age)
    is_paid = np.isin(plan, _PAYING)
    is_due = is_paid & (rng.random(rows) < 0.95)
    failures = np.where(rng.random(rows) < 0.12, rng.beta(2, 3, rows).round(2), 0.0)
    source = _one_of(_SOURCES, rng, rows)
    facts = {
        **_activity(rng, engagement, is_fading, age=age),
        "days_since_signup": age,
        "payment_fail_rate_30d": np.where(is_due, failures, np.nan),
        "plan": plan,
        "is_paid": is_paid.astype(float),
        "country": _one_of(_COUNTRIES, rng, rows),
        "marketing_source": source,
    }
    log_odds = (
        -2.5
        - 1.2 * engagement
        + 2.0 * is_fading
        + 0.9 * np.exp(-age / 30)
        + 0.6 * (plan == "trial")
        + 0.3 * (plan == "free")
        + 2.0 * failures * is_due
        + 0.4 * np.isin(source, ("affiliate", "search_ads"))
    )
    churned = rng.random(rows) < 1 / (1 + np.exp(-log_odds))
    return {
        **with_gaps({n: facts[n] for n in _SCHEMA.names}, rng),
        "churned": churned.astype(float),
    }


def _one_of(names: tuple[str, ...], rng: np.random.Generator, rows: int) -> NDArray[np.object_]:
    """Each name three quarters as often as the one before."""
    weight = 0.75 ** np.arange(len(names))
    return rng.choice(np.array(names, object), rows, p=weight / weight.sum())


def _plans(
    rng: np.random.Generator, engagement: NDArray[Any], age: NDArray[Any]
) -> NDArray[np.object_]:
    """Who pays is more engaged; a trial lasts 30 days."""
    pays = rng.random(len(age)) < 1 / (1 + np.exp(0.3 - 0.7 * engagement))
    paid = _one_of(_PAYING, rng, len(age))
    free = np.where((age <= 30) & (rng.random(len(age)) < 0.7), "trial", "free")
    return np.where(pays, paid, free.astype(object))


def _activity(
    rng: np.random.Generator,
    engagement: NDArray[Any],
    is_fading: NDArray[Any],
    *,
    age: NDArray[Any],
) -> dict[str, NDArray[Any]]:
    """What was done in the last 30 days, drawn day by day (users x days, today first)."""
    ago = np.arange(30)
    fall = np.where(is_fading, 3.5, 0.0)[:, None] * (1 - ago / 30)
    chance = 1 / (1 + np.exp(0.5 - 1.1 * engagement[:, None] + fall))
    is_active = (rng.random(chance.shape) < chance) & (ago <= age[:, None])
    minutes = is_active * rng.gamma(1.3, 32 * np.exp(0.25 * engagement[:, None]), chance.shape)
    long_ago = np.minimum(age, 29.0 + rng.geometric(0.04, len(age)))
    days = {length: is_active[:, :length].sum(axis=1) for length in (7, 14, 30)}
    attempts = rng.poisson(0.4 * days[7])
    score = (72 + 6 * engagement + rng.normal(0, 11, len(age))).clip(0, 100).round(1)
    return {
        **{f"active_days_{length}d": done.astype(float) for length, done in days.items()},
        **{f"watch_minutes_{length}d": minutes[:, :length].sum(axis=1).round(1) for length in days},
        "events_7d": rng.poisson(8.0 * days[7]).astype(float),
        "quiz_attempts_7d": attempts.astype(float),
        "quiz_avg_score_7d": np.where(attempts > 0, score, np.nan),
        "days_since_last_activity": np.where(
            is_active.any(axis=1), is_active.argmax(axis=1), long_ago
        ).astype(float),
    }


_USER = {"user_id": "12345", "snapshot_date": "2025-01-15", "features": _SCHEMA.example}
_KNOWN = {"active_days_7d": 3, "watch_minutes_7d": 120, "days_since_last_activity": 0}
_TEST_USER = {"user_id": "test_user", "features": {**_KNOWN, "plan": "paid"}}

CHURN = Problem(
    name="churn",
    title="Churn of a learning platform",
    schema=_SCHEMA,
    target=_TARGET,
    contracts=(
        Contract(
            path="/predict",
            summary="Predict the risk that a user does not come back within 30 days",
            request=lambda limit: _ChurnUser,
            reply=ChurnPrediction,
            entities=lambda body: _entities_of([body]),
            answer=lambda answer, body: _risks_of(answer, [body])["predictions"][0],
            examples={"documented": _USER, "a few features": _TEST_USER},
        ),
        Contract(
            path="/predict/batch",
            summary="Predict the risks of many users; all are answered or none",
            request=_users_type,
            reply=ChurnPredictions,
            entities=lambda body: _entities_of(body["users"]),
            answer=lambda answer, body: _risks_of(answer, body["users"]),
            examples={"documented": {"users": [_USER, _TEST_USER]}},
            table=TableForm(
                "users", _UserColumns, _columns_of, row=_user_of, texts=_named_in, key="user_id"
            ),
        ),
    ),
    simulate=simulate,
    slices=("active_days_30d", "watch_minutes_30d", "days_since_signup"),
    layouts={},
)
