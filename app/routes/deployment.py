"""Who answers besides the champion: read it, set it, and see how the variants do."""

# No `from __future__ import annotations` here: FastAPI could not resolve the local types.

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.config import JsonDict

from app.body import read
from app.openapi import refusals, request_body
from app.parameters import check_names
from app.routes.model import authorise, shown
from engine.domain import history
from engine.domain.ports import Records
from engine.domain.problem import Problem
from engine.domain.traffic import CANARY, SHADOW, SLOTS, TEST, VariantRequest
from engine.domain.variants import MOST_VARIANTS
from engine.domain.version import Version
from engine.serving.deployment import Deployment
from engine.serving.live import Live, now
from engine.serving.validation import validated
from engine.watching.comparison import report
from engine.watching.recent import recent_records

_LARGEST_BODY = 4_096
REPORT_SECONDS = 2
REST = 20
"""A report is kept for REPORT_SECONDS, or for REST times as long as it took to make if that is
longer: a client that asks in a loop does not keep the machine busy."""


_STRICT = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
_SHARED: JsonDict = {
    "properties": {"mode": {"enum": [TEST, CANARY]}, "share": {"minimum": 1 / SLOTS}},
    "required": ["share"],
}
_UNSHARED: JsonDict = {"properties": {"mode": {"const": SHADOW}, "share": {"const": 0}}}
_ONE_CANARY: JsonDict = {
    "contains": {"properties": {"mode": {"const": CANARY}}},
    "minContains": 0,
    "maxContains": 1,
}
"""Rules that `engine.domain.variants` checks, as the OpenAPI document states them."""


class WishedVariant(BaseModel):
    """A version to be asked besides the champion."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"oneOf": [_SHARED, _UNSHARED]})

    model_version: str = Field(
        max_length=50, description="A registered version. Unit: none.", examples=["v1.1.0-rc.1"]
    )
    mode: Literal["test", "canary", "shadow"] = Field(
        description="test and canary answer a share of the units, a shadow nobody. Unit: none."
    )
    share: float = Field(
        0.0,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="Of all units, at least 0.0001; 0 for a shadow. Unit: share.",
        examples=[0.1],
    )


def _whole(value: Any) -> Any:
    """JSON does not distinguish 3 and 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class WishedDeployment(BaseModel):
    """The variants from now on; none of them means the champion alone."""

    model_config = _STRICT

    variants: list[WishedVariant] = Field(
        max_length=MOST_VARIANTS,
        description="In place of those there are: each version once, not the champion, and shares "
        "that leave it some. Unit: none.",
        json_schema_extra=_ONE_CANARY,
    )
    why: str = Field("", max_length=500, description="The reason, for the history. Unit: none.")
    revision: Annotated[int, Field(ge=0, le=2**31), BeforeValidator(_whole)] | None = Field(
        None, description="Change nothing unless the deployment is at this revision. Unit: count."
    )


_BODY = TypeAdapter(WishedDeployment)
_EXAMPLE = {
    "variants": [{"model_version": "v1.1.0-rc.1", "mode": "test", "share": 0.2}],
    "why": "is it better?",
}


def router(problem: Problem, *, prefix: str) -> APIRouter:
    routes = APIRouter(prefix=prefix, tags=[problem.name])
    name = f"{prefix}/deployment".strip("/").replace("/", "_")

    @routes.get("/deployment", operation_id=name, responses=refusals(500, 503))
    async def deployment(request: Request) -> dict[str, Any]:
        """The champion, the variants beside it, since when and why."""
        return await asyncio.to_thread(_described, request.state.lives[problem.name])

    @routes.put(
        "/deployment",
        operation_id=f"{name}_set",
        openapi_extra=request_body([_BODY], {"a test": _EXAMPLE}),
        responses=refusals(400, 403, 404, 408, 409, 413, 415, 422, 500, 503),
    )
    async def set_deployment(
        request: Request,
        x_api_key: Annotated[str, Header(description="The admin key. Unit: none.")] = "",
    ) -> dict[str, Any]:
        """Set the variants; units move only where they must. Needs `ADMIN_API_KEY`."""
        live: Live = request.state.lives[problem.name]
        authorise(x_api_key, request.state.admin_key)
        check_names(request)
        wanted: WishedDeployment = await validated(_BODY, await read(request, _LARGEST_BODY))
        requests = [
            VariantRequest(Version.parse(v.model_version), v.mode, v.share) for v in wanted.variants
        ]
        why = wanted.why or f"request {request.scope['request_id']}"
        await asyncio.to_thread(live.set_variants, requests, why, wanted.revision)
        return await asyncio.to_thread(_described, live)

    @routes.get("/deployment/report", operation_id=f"{name}_report", responses=refusals(503))
    async def deployment_report(request: Request) -> dict[str, Any]:
        """How each variant does beside the champion, with bounds that hold whenever one looks."""
        reports: Reports = request.state.reports
        return await reports.newest(request.state.lives[problem.name], request.state.records)

    return routes


def _described(live: Live) -> dict[str, Any]:
    past = live.registered.history()
    made = history.arranged(past)
    traffic = history.traffic(past)
    return {
        "problem": live.problem.name,
        "revision": len(past),
        "champion": {
            "model_version": str(history.champion(past) or live.deployment().champion.version),
            "share": round(1 - sum(variant.share for variant in traffic.variants), 4),
        },
        "variants": [
            {"model_version": str(v.version), "mode": v.mode, "share": round(v.share, 4)}
            for v in traffic.variants
        ],
        "experiment": traffic.salt or None,
        "arranged": None if made is None else shown(made),
        "refused": live.deployment().refusals,
    }


@dataclass(frozen=True)
class _Made:
    """What became of a report on this deployment, and how long it is good for."""

    deployment: Deployment
    report: asyncio.Future[dict[str, Any]]
    until: float


class Reports:
    """The reports of all problems. One report is made at a time, and it answers all requests while
    it is recent."""

    def __init__(self) -> None:
        self._making = asyncio.Lock()
        self._made: dict[str, _Made] = {}

    async def newest(self, live: Live, records: Records) -> dict[str, Any]:
        name = live.problem.name
        async with self._making:
            deployment = live.deployment()
            made = self._made.get(name)
            if made is None or made.deployment is not deployment or made.until < monotonic():
                made = self._made[name] = await _make(deployment, live, records)
        return made.report.result()


async def _make(deployment: Deployment, live: Live, records: Records) -> _Made:
    """A failure is kept like a report: it may have taken as long."""
    start = monotonic()
    report = asyncio.ensure_future(asyncio.to_thread(_reported, live, records))
    await asyncio.wait([report])
    end = monotonic()
    return _Made(deployment, report, end + max(REPORT_SECONDS, REST * (end - start)))


def _reported(live: Live, records: Records) -> dict[str, Any]:
    """A report on the answers since the traffic was last changed."""
    at, past = now(), live.registered.history()
    made, traffic = history.arranged(past), history.traffic(past)
    since = None if made is None else made.at
    answered = recent_records(records, live.problem.name, since=since) if traffic.variants else []
    champion = history.champion(past) or live.deployment().champion.version
    found = report(live.problem.target.kind, traffic, champion, since=since, joined=answered)
    return {"made_at": at, **found.as_json()}
