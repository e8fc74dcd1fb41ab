"""What truly happened: outcomes for predictions that were made, at once or much later."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, Field, TypeAdapter
from typing_extensions import TypedDict

from app.body import parsed, read
from app.live import now
from app.openapi import refusals, request_body
from engine.domain.problem import Problem
from engine.domain.record import Outcome
from engine.domain.schema import Target, body_type
from engine.domain.times import written
from engine.settings import Settings

MOST_OUTCOMES = 1_000
PREDICTION = "019a9c1e2f3b5cf04e53a9a0f0b0a9f4-0"
EXAMPLES = {
    "one": {"prediction_id": PREDICTION, "actual": 512_000},
    "many": {"outcomes": [{"prediction_id": PREDICTION, "actual": 512_000}]},
}


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
    one, many = map(TypeAdapter, feedback_types(problem.target))

    @routes.post(
        "/feedback",
        summary="Report what truly happened",
        operation_id=f"{prefix}/feedback".strip("/").replace("/", "_"),
        response_model=FeedbackReply,
        openapi_extra=request_body([one, many], EXAMPLES),
        responses=refusals(400, 404, 408, 409, 413, 415, 422, 503),
    )
    async def feedback(request: Request) -> Any:
        """All outcomes of a request are kept or none. Saying the same again changes nothing."""
        content = await read(request, settings.max_body_bytes)
        body = await parsed(many if b'"outcomes"' in content else one, content)
        outcomes = [outcome_of(outcome) for outcome in body.get("outcomes", [body])]
        new = await asyncio.to_thread(request.state.records.label, problem.name, outcomes)
        unchanged = len(outcomes) - new
        request.state.metrics.labelled(problem.name, new=new, unchanged=unchanged)
        return {"status": "recorded", "recorded": new, "unchanged": unchanged}

    return routes


def feedback_types(target: Target) -> tuple[Any, Any]:
    """The two bodies: one outcome, or many under `outcomes`."""
    fields = {
        "prediction_id": Annotated[
            str,
            Field(
                min_length=1,
                max_length=80,
                pattern=r"^[\w.:-]+$",
                description="As the prediction's reply has it. Unit: none.",
            ),
        ],
        "actual": Annotated[
            float,
            Field(
                ge=target.low,
                le=target.high,
                description=f"{target.description} Unit: {target.unit}.",
            ),
        ],
        "known_at": NotRequired[
            Annotated[
                AwareDatetime,
                Field(
                    strict=False,
                    description="When it became known; default: now. Unit: ISO 8601 with a zone.",
                ),
            ]
        ],
    }
    one = body_type("PredictionOutcome", fields)
    limits = Field(min_length=1, max_length=MOST_OUTCOMES, description="Unit: one item a row.")
    many = body_type("PredictionOutcomes", {"outcomes": Annotated[list[one], limits]})  # type: ignore[valid-type]
    return one, many


def outcome_of(body: Any) -> Outcome:
    known: datetime | None = body.get("known_at")
    text = now() if known is None else written(known)
    return Outcome(body["prediction_id"], body["actual"], text)
