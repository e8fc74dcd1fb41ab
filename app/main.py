"""The application: puts the routes together and owns the lifetime of what they share."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app import deployment, feedback, health, metrics, model, monitoring, predict, redoc
from app.errors import add_handlers
from app.live import Live
from app.logs import open_log
from app.openapi import describe
from app.recording import keep_tidy, recording, shadowing
from engine.assemble import open_records, open_stores
from engine.domain.problem import Problem
from engine.settings import Settings, load_settings
from problems import DEFAULT

DESCRIPTION = """Predictions from a versioned model, each with an interval that covers.

Errors are RFC 9457 problem documents; every reply carries an `X-Request-ID`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Declare the routes; nothing is opened before the lifespan starts."""
    settings = settings or load_settings()
    problem = DEFAULT
    app = FastAPIOffline(
        title=health.NAME,
        version=health.API_VERSION,
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan_of(settings, problem),
    )
    add_middleware(app, settings)
    add_handlers(app)
    for prefix in ("", f"/v1/{problem.name}"):
        app.include_router(predict.router(problem, prefix=prefix, settings=settings))
        app.include_router(feedback.router(problem, prefix=prefix, settings=settings))
        app.include_router(deployment.router(problem, prefix=prefix))
    for routes in (model.router, metrics.router, health.router, redoc.router):
        app.include_router(routes)
    bodies = [contract.request(settings.max_batch_size) for contract in problem.contracts]
    admin = (model.LoadRequest, deployment.WishedDeployment)
    describe(app, [*bodies, *feedback.feedback_types(problem.target), *admin])
    return app


def add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added is the outermost."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "X-Request-ID", "X-Unit-ID"],
            expose_headers=["X-Request-ID", "X-Recorded"],
        )
    app.add_middleware(monitoring.Observe)


def lifespan_of(settings: Settings, problem: Problem) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        log = open_log(settings)
        counts = metrics.Metrics()
        records = open_records(settings)
        live = Live(
            problem,
            open_stores(settings, problem.name),
            admin_key=settings.admin_api_key,
            metrics=counts,
            log=log,
        )
        live.refresh()
        log.info("started", ready=live.loaded_version() is not None, reason=live.refusal or None)
        async with AsyncExitStack() as running:
            recorder = running.enter_context(recording(settings, records, counts, log))
            shadows = running.enter_context(shadowing(recorder, counts))
            for task in (
                live.follow(settings.model_poll_seconds),
                keep_tidy(records, settings.records_keep_days, log),
            ):
                await running.enter_async_context(background(task))
            yield {
                "live": live,
                "metrics": counts,
                "log": log,
                "records": records,
                "recorder": recorder,
                "shadows": shadows,
            }
        log.info("stopped")

    return lifespan


@asynccontextmanager
async def background(task: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """A task that runs while the block does."""
    running = asyncio.create_task(task)
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


app = create_app()
