"""The application: puts the routes together and owns the lifetime of what they share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app import health, model, monitoring, predict, redoc
from app.errors import add_handlers
from app.live import Live
from app.logs import open_log
from app.openapi import describe
from engine.assemble import open_stores
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
    for routes in (model.router, monitoring.router, health.router, redoc.router):
        app.include_router(routes)
    describe(app, problem, settings.max_batch_size)
    return app


def add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added is the outermost."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID"],
        )
    app.add_middleware(monitoring.Observe)


def lifespan_of(settings: Settings, problem: Problem) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        log = open_log(settings)
        metrics = monitoring.Metrics()
        live = Live(
            problem,
            open_stores(settings, problem.name),
            admin_key=settings.admin_api_key,
            metrics=metrics,
            log=log,
        )
        live.refresh()
        log.info("started", ready=live.loaded_version() is not None, reason=live.refusal or None)
        following = asyncio.create_task(live.follow(settings.model_poll_seconds))
        try:
            yield {"live": live, "metrics": metrics, "log": log}
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            log.info("stopped")

    return lifespan


app = create_app()
