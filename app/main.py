"""The application: puts the routes together and owns the lifetime of what they share."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from app import metrics, monitoring
from app.counting import counting_together
from app.errors import add_handlers
from app.formats import most_rows_of
from app.logs import open_log
from app.openapi import describe
from app.recording import keep_tidy, recording, shadowing
from app.resolving import resolving
from app.routes import deployment, feedback, health, model, predict, redoc
from app.tables import TablePredictions, table_type
from engine import __version__
from engine.assemble import card_of, open_records, open_stores
from engine.domain.problem import Problem
from engine.serving.data_path import DataPath
from engine.serving.live import Live
from engine.settings import Settings, load_settings, unread_names
from problems import named

_DESCRIPTION = """Predictions from a versioned model, each with an interval that covers.

Errors are RFC 9457 problem documents; every reply carries an `X-Request-ID`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Declare the routes; nothing is opened before the lifespan starts, but for the card of a
    problem that somebody's table declared: its routes are what the card says.

    Raises InvalidSetting when SERVE names a problem that there is not.
    """
    settings = settings or load_settings()
    problems = _served_problems(settings)
    app = FastAPIOffline(
        title=health.NAME,
        version=__version__,
        description=_DESCRIPTION,
        redoc_url=None,
        telemetry=_telemetry(),
        lifespan=_lifespan_of(settings, problems),
    )
    places = [("", problems[0]), *((f"/v1/{problem.name}", problem) for problem in problems)]
    answering: dict[str, predict.Endpoint] = {}
    for prefix, problem in places:
        answering |= predict.endpoints(problem, prefix=prefix, settings=settings)
    _add_middleware(app, settings)
    add_handlers(app)
    for prefix, problem in places:
        app.include_router(predict.router(problem, answering, prefix=prefix, settings=settings))
        app.include_router(feedback.router(problem, prefix=prefix, settings=settings))
        app.include_router(deployment.router(problem, prefix=prefix))
        app.include_router(model.router(problem, prefix=prefix))
    for routes in (metrics.router, health.router, redoc.router):
        app.include_router(routes)
    describe(app, _bodies_of(problems, settings))
    _answer_first(app, settings, answering)
    return app


def _served_problems(settings: Settings) -> list[Problem]:
    """The first of them answers at the root."""
    return [named(name, partial(card_of, settings)) for name in settings.serve]


def _answer_first(
    app: FastAPI, settings: Settings, answering: Mapping[str, predict.Endpoint]
) -> None:
    """Put the predictions in front of all that FastAPI wraps around the routes."""
    wrap = app.build_middleware_stack

    def build() -> ASGIApp:
        return predict.AnswerFirst(wrap(), answering, logs_requests=settings.log_requests)

    app.build_middleware_stack = build  # type: ignore[method-assign]


def _telemetry() -> TelemetryConfig | None:
    """FastAPI looks at every request whether OpenTelemetry was configured; without its SDK, which
    is nobody's dependency here, it cannot be."""
    if find_spec("opentelemetry.sdk") is not None:
        return None
    return {"tracing": False, "metrics": False, "logs": False}


def _bodies_of(problems: Sequence[Problem], settings: Settings) -> list[Any]:
    """The types of all bodies that the routes read themselves."""
    bodies: list[Any] = [model.LoadRequest, deployment.WishedDeployment, TablePredictions]
    for problem in problems:
        bodies += [contract.request(settings.max_batch_size) for contract in problem.contracts]
        forms = [contract.table for contract in problem.contracts if contract.table is not None]
        bodies += [table_type(problem, f, most_rows_of(f, settings)) for f in forms]
        bodies += feedback.feedback_types(problem)
    return bodies


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added is the outermost."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=["Content-Type", "X-API-Key", "X-Request-ID", "X-Unit-ID"],
            expose_headers=["Retry-After", "X-Request-ID", "X-Recorded"],
        )
    app.add_middleware(monitoring.Observe, logs_requests=settings.log_requests)


def _lifespan_of(settings: Settings, problems: Sequence[Problem]) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        log = open_log(settings)
        for unread in unread_names():
            log.warning("setting_ignored", reason=unread)
        records = open_records(settings)
        async with AsyncExitStack() as running:
            running.enter_context(counting_together())
            counts = metrics.Metrics()
            lives = {p.name: _open_live(p, settings, counts, log=log) for p in problems}
            recorder = running.enter_context(recording(settings, records, counts, log=log))
            resolver = running.enter_context(resolving(settings, counts, log))
            share = partial(DataPath, threshold=settings.default_threshold, told=counts.predicted)
            shadows = {name: running.enter_context(shadowing(recorder, counts)) for name in lives}
            paths = {n: share(live, resolver, recorder, shadows[n]) for n, live in lives.items()}
            for task in (
                *(live.follow(settings.model_poll_seconds) for live in lives.values()),
                keep_tidy(records, settings.records_keep_days, log),
            ):
                await running.enter_async_context(_background(task))
            running.enter_context(_left_alone_by_the_collector())
            yield {
                "admin_key": settings.admin_api_key,
                "lives": lives,
                "metrics": counts,
                "log": log,
                "records": records,
                "recorder": recorder,
                "reports": deployment.Reports(),
                "paths": paths,
                "resolver": resolver,
            }
        log.info("stopped")

    return lifespan


@contextmanager
def _left_alone_by_the_collector() -> Iterator[None]:
    """What is there when the service starts stays: the garbage collector need not look at it again
    each time that requests have left enough behind."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class _ModelNews:
    """What is told of models that are put in place or refused: counted and logged."""

    counts: metrics.Metrics
    log: FilteringBoundLogger

    def model_loaded(self, problem: str, version: str, variants: Mapping[str, str]) -> None:
        self.counts.model_loaded(problem, version)
        self.log.info("model_loaded", problem=problem, version=version, variants=variants)

    def model_refused(self, problem: str, reason: str) -> None:
        self.counts.model_refused(problem)
        self.log.error("model_refused", problem=problem, reason=reason)


def _open_live(
    problem: Problem, settings: Settings, counts: metrics.Metrics, *, log: FilteringBoundLogger
) -> Live:
    """A problem's deployment, as far as there is a champion already."""
    stores = open_stores(settings, problem.name)
    live = Live(
        problem,
        stores.champion,
        stores.artifacts,
        train_command=stores.train_command,
        listener=_ModelNews(counts, log),
    )
    live.refresh()
    version = live.loaded_version()
    log.info("started", problem=problem.name, version=version, reason=live.refusal or None)
    return live


@asynccontextmanager
async def _background(task: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """A task that runs while the block does."""
    running = asyncio.create_task(task)
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


app = create_app()
