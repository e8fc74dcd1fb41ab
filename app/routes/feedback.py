"""What truly happened: outcomes for predictions that were made, at once or much later."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NotRequired

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from app.body import BY_SETTING, read
from app.openapi import refusals, request_body
from app.parameters import check_names
from engine.domain.columns import WHOLE
from engine.domain.errors import RecordsUnavailable
from engine.domain.kinds import ByKind
from engine.domain.problem import Problem
from engine.domain.record import Outcome
from engine.domain.schema import Target, body_type
from engine.domain.times import MOMENT, utc, written
from engine.serving.live import now
from engine.serving.validation import validated
from engine.settings import Settings

_MOST_OUTCOMES = 1_000
_MANY = re.compile(rb'"outcomes"\s*:')
WRITERS = 2
"""Outcomes have their own threads, so that waiting for the database does not delay predictions."""
_LATEST = timedelta(days=1)
"""How far in the future `known_at` may lie, because clocks differ."""
_PREDICTION = "019a9c1e2f3b5cf04e53a9a0f0b0a9f4-0"


class FeedbackReply(TypedDict):
    """All outcomes of the request are kept."""

    status: Annotated[
        Literal["recorded"], Field(description="All of the request is kept. Unit: none.")
    ]
    recorded: Annotated[int, Field(description="New outcomes. Unit: predictions.", examples=[1])]
    unchanged: Annotated[
        int, Field(description="Reported before with the same value. Unit: predictions.")
    ]


def router(problem: Problem, *, prefix: str, settings: Settings) -> APIRouter:
    routes = APIRouter(prefix=prefix, tags=[problem.name])
    one, many = map(TypeAdapter, feedback_types(problem))
    writers = CapacityLimiter(WRITERS)

    @routes.post(
        "/feedback",
        summary="Report what truly happened",
        operation_id=f"{prefix}/feedback".strip("/").replace("/", "_"),
        response_model=FeedbackReply,
        openapi_extra=request_body([one, many], _examples(problem.target)),
        responses=refusals(400, 404, 408, 409, 413, 415, 422, 503),
    )
    async def feedback(request: Request) -> Any:
        """All outcomes of a request are kept or none. Saying the same again changes nothing."""
        check_names(request)
        content = await read(request, settings.max_body_bytes, BY_SETTING)
        body = await validated(many if _MANY.search(content) else one, content)
        outcomes = [_outcome_of(outcome) for outcome in body.get("outcomes", [body])]
        new = await to_thread.run_sync(_label, request, problem.name, outcomes, limiter=writers)
        unchanged = len(outcomes) - new
        request.state.metrics.labelled(problem.name, new=new, unchanged=unchanged)
        return {"status": "recorded", "recorded": new, "unchanged": unchanged}

    return routes


def _examples(target: Target) -> dict[str, Any]:
    one = {"prediction_id": _PREDICTION, "actual": _OUTCOMES[target.kind].example(target)}
    return {"one": one, "many": {"outcomes": [one]}}


def _label(request: Request, problem: str, outcomes: list[Outcome]) -> int:
    """How many outcomes were new. A database that is known to fail is not waited for."""
    if request.state.recorder.refusal:
        raise RecordsUnavailable(request.state.recorder.refusal)
    return int(request.state.records.label(problem, outcomes))


@dataclass(frozen=True)
class _OutcomeKind:
    """How an outcome is written in a body: an example, and the type with its description."""

    example: Callable[[Target], float]
    annotation: Callable[[Any], Any]


_OUTCOMES = ByKind(
    positive=_OutcomeKind(lambda target: 10 * target.low, lambda about: Annotated[float, about]),
    real=_OutcomeKind(
        lambda target: round((target.low + target.high) / 2), lambda about: Annotated[float, about]
    ),
    binary=_OutcomeKind(
        lambda target: 1, lambda about: Annotated[float, about, Field(multiple_of=1), WHOLE]
    ),
)


def feedback_types(problem: Problem) -> tuple[Any, Any]:
    """The two bodies: one outcome, or many under `outcomes`; an event happened (1) or not (0)."""
    fields = {
        "prediction_id": Annotated[
            str,
            Field(
                min_length=1,
                max_length=80,
                pattern=r"^[A-Za-z0-9_.:-]+$",
                description="As the prediction's reply has it. Unit: none.",
            ),
        ],
        "actual": _actual_type(problem.target),
        "known_at": NotRequired[
            Annotated[
                str,
                AfterValidator(_known_time),
                Field(
                    max_length=50,
                    description="When it became known, at most a day from now; default: now. "
                    "Unit: ISO 8601, UTC where no zone is named.",
                    examples=["2026-11-20T12:00:00Z"],
                    json_schema_extra={"pattern": f"^{MOMENT}$"},
                ),
            ]
        ],
    }
    one = body_type(f"{problem.name}_Outcome", fields)
    limits = Field(min_length=1, max_length=_MOST_OUTCOMES, description="Unit: one item a row.")
    many = body_type(f"{problem.name}_Outcomes", {"outcomes": Annotated[list[one], limits]})  # type: ignore[valid-type]
    return one, many


def _actual_type(target: Target) -> Any:
    about = Field(
        ge=target.low, le=target.high, description=f"{target.description} Unit: {target.unit}."
    )
    return _OUTCOMES[target.kind].annotation(about)


def _outcome_of(body: Any) -> Outcome:
    return Outcome(body["prediction_id"], body["actual"], body.get("known_at") or now())


def _known_time(text: str) -> str:
    """Raises ValueError for a text that is not a time, and for a time in the future."""
    moment = utc(text)
    if moment > written(datetime.now(UTC) + _LATEST):
        raise ValueError(f"{text[:50]} is in the future; leave known_at out to mean now")
    return moment
